import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import { createTarball } from '../feeds/npm-package.ts'
import { OTHER_PEER_ID, PEER_ID, SUCCEEDED } from '../support/fake-results.ts'
import { openTestServer, type TestServer } from '../support/http-server.ts'
import { type CommandResult, runCommand } from './command.ts'

let server: TestServer
let folder: string

before(async () => {
  server = await openTestServer()
  folder = await mkdtemp(join(tmpdir(), 'feedmesh-cli-'))
})

after(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

function feedmesh(args: readonly string[], key = server.operations.adminKey, stdin = ''): Promise<CommandResult> {
  return runCommand(args, { env: { FEEDMESH_URL: server.url, FEEDMESH_API_KEY: key }, stdin })
}

/** The one JSON document of a command that ends with `exitCode`. */
async function json(args: readonly string[], exitCode = 0): Promise<Record<string, unknown>> {
  const result = await feedmesh([...args, '--json'])
  assert.equal(result.exitCode, exitCode, `${args.join(' ')}: ${result.stderr}`)
  assert.equal(result.stdout.trim().split('\n').length, 1)
  assert.equal(result.stderr, '')
  return JSON.parse(result.stdout) as Record<string, unknown>
}

interface Failure {
  readonly exitCode: number | null
  readonly code: string
  readonly message: string
  readonly cure: string
}

async function failure(args: readonly string[], key?: string): Promise<Failure> {
  const { exitCode, stdout, stderr } = await feedmesh([...args, '--json'], key)
  assert.equal(stdout, '')
  const { error } = JSON.parse(stderr) as { error: Omit<Failure, 'exitCode'> }
  return { exitCode, ...error }
}

test('feed commands answer the documents that scripts rely on', async () => {
  const created = await json(['feed', 'create', 'made', '--type', 'npm', '--public-read'])
  assert.deepEqual(Object.keys(created).sort(), ['bytes', 'entries', 'id', 'name', 'publicRead', 'type'])
  assert.equal(created['publicRead'], true)
  const shown = await json(['feed', 'show', 'made'])
  for (const field of [...Object.keys(created), 'feedId', 'digest', 'sources', 'manifests'])
    assert.ok(field in shown, field)
  const { feeds } = (await json(['feed', 'list'])) as { feeds: { name: string }[] }
  assert.ok(feeds.some(({ name }) => name === 'made'))
  await json(['feed', 'delete', 'made'])
  assert.equal((await failure(['feed', 'delete', 'made'])).code, 'NOT_FOUND')
})

test('node commands answer the documents that scripts rely on', async () => {
  const status = await json(['status'])
  for (const field of ['peerId', 'version', 'http', 'listen', 'feeds', 'replications', 'problems'])
    assert.ok(field in status, field)
  assert.equal(status['peerId'], PEER_ID)
  const { peers } = (await json(['peers'])) as { peers: Record<string, unknown>[] }
  for (const field of ['peerId', 'site', 'rttMs', 'direction', 'connected', 'inRate', 'outRate'])
    assert.ok(field in (peers[0] ?? {}), field)
  server.operations.problems = [
    { code: 'CLOCK_WRONG', subject: 'this node', message: 'off', cure: 'set it', since: '2026-11-23T00:00:00Z' },
  ]
  assert.deepEqual(await json(['doctor']), { problems: server.operations.problems })
  server.operations.problems = []
  const { id, key } = await json(['key', 'create', '--can', 'read,publish'])
  assert.match(String(key), /^fmk_/)
  await json(['key', 'revoke', String(id)])
  assert.ok('keys' in (await json(['key', 'list'])))
  assert.ok('tokens' in (await json(['token', 'list'])))
  await json(['token', 'revoke', 'aa11'])
  await json(['peers', 'revoke', OTHER_PEER_ID])
  assert.equal(server.operations.audit.at(-1)?.action, `peer revoke ${OTHER_PEER_ID}`)
})

test('replication commands answer the documents that scripts rely on', async () => {
  server.operations.addFeed('tools')
  const added = await json(['replication', 'add', '--feed', 'tools', '--incoming', '--mode', 'push', '--token', 'new'])
  assert.deepEqual(Object.keys(added).sort(), ['id', 'joinCode', 'token'])
  const id = String(added['id'])
  const { replications } = (await json(['replication', 'list'])) as { replications: Record<string, unknown>[] }
  for (const field of ['id', 'feeds', 'communication', 'mode', 'peer', 'state', 'lag', 'lastRun'])
    assert.ok(field in (replications[0] ?? {}), field)
  assert.equal((await json(['replication', 'show', id]))['id'], id)
  assert.equal((await json(['replication', 'edit', id, '--availability', 'on-demand']))['availability'], 'on-demand')
  assert.equal((await json(['replication', 'edit', id, '--serve', 'none']))['serve'], 'none')
  const shown = await feedmesh(['replication', 'show', id])
  assert.match(shown.stdout, /serves +none: linked nodes only/)
  assert.equal((await failure(['replication', 'edit', id, '--serve', 'everybody'])).code, 'BAD_INPUT')
  assert.equal((await json(['replication', 'pause', id]))['state'], 'paused')
  assert.equal((await json(['replication', 'resume', id]))['state'], 'ok')
  const plan = await json(['replication', 'plan', id])
  assert.deepEqual(Object.keys(plan).sort(), ['delete', 'fetch', 'send'])
  assert.deepEqual(await json(['replication', 'run', id]), { started: [id] })
  await json(['replication', 'remove', id])
  assert.equal((await failure(['replication', 'show', id])).code, 'NOT_FOUND')
  assert.equal((await json(['runs', '7']))['runId'], 7)
  assert.ok('runs' in (await json(['runs'])))
})

test('every option of replication add reaches the node', async () => {
  server.operations.addFeed('tools')
  const link = ['replication', 'add', '--feed', 'tools=upstream', '--outgoing', '--mode', 'pull', '--token', '-']
  const where = [
    '--url',
    'http://hub.example:8624',
    '--availability',
    'on-demand',
    '--deletes',
    'keep',
    '--no-relay',
    '--serve',
    'region',
  ]
  const what = ['--include', 'a*', 'b*', '--exclude', '*-beta', '--every', '90s']
  const token = await feedmesh([...link, ...where, ...what], undefined, 'fmt1_from_stdin\n')
  assert.equal(token.exitCode, 0, token.stderr)
  const [, sent = ''] = /^replication add (.*)$/.exec(server.operations.audit.at(-1)?.action ?? '') ?? []
  assert.deepEqual(JSON.parse(sent), {
    feeds: [{ local: 'tools', remote: 'upstream' }],
    communication: 'outgoing',
    mode: 'pull',
    token: 'fmt1_from_stdin',
    url: 'http://hub.example:8624',
    availability: 'on-demand',
    include: ['a*', 'b*'],
    exclude: ['*-beta'],
    deletes: 'keep',
    serve: 'region',
    everyMs: 90_000,
    relay: false,
  })
  const incoming = ['replication', 'add', '--feed', 'tools', '--incoming', '--mode', 'pull', '--token', 'new']
  await json([...incoming, '--scope', '@a/*', '--may-extend', '--token-expires', '7d', '--token-uses', '3'])
  assert.match(
    server.operations.audit.at(-1)?.action ?? '',
    /"scope":\["@a\/\*"\],"mayExtend":true,"tokenExpiresInMs":604800000,"tokenUses":3/,
  )
})

test('limits reach the node as numbers, and can be taken away', async () => {
  server.operations.addFeed('limited')
  const { id } = server.operations.addReplicationOf('limited')
  const edited = () => {
    const [, sent = '{}'] = /^replication edit \S+ (.*)$/.exec(server.operations.audit.at(-1)?.action ?? '') ?? []
    return JSON.parse(sent) as unknown
  }
  const edit = ['replication', 'edit', id]
  await json([...edit, '--quota', '1.5GiB', '--pin', 'a*', 'b', '--max-rate', '20MB/s', '--window', '22:00-06:00'])
  const limits = { window: '22:00-06:00', maxRate: 20_000_000, quotaBytes: 1.5 * 1024 ** 3, pins: ['a*', 'b'] }
  assert.deepEqual(edited(), limits)
  await json([...edit, '--quota', 'none', '--pin', '-', '--max-rate', 'none', '--window', 'always'])
  assert.deepEqual(edited(), { window: null, maxRate: null, quotaBytes: null, pins: [] })
  for (const wrong of [
    ['--quota', '10'],
    ['--quota', '10 GiB/s'],
    ['--max-rate', '20MiB'],
    ['--window', '22-6'],
  ])
    assert.equal((await failure([...edit, ...wrong])).code, 'BAD_INPUT', wrong.join(' '))
})

test('a run that was waited for exits with its outcome', async () => {
  const { id } = server.operations.addReplicationOf('tools')
  const wait = ['replication', 'run', id, '--wait']
  assert.deepEqual(await json(wait), SUCCEEDED)
  const failed = [{ item: 'a@1', code: 'CORRUPT', message: 'bytes do not match' }]
  server.operations.run = async () => ({ ...SUCCEEDED, state: 'partial', failed })
  assert.equal((await json(wait, 4))['state'], 'partial')
  server.operations.run = async () => ({ ...SUCCEEDED, state: 'failed', failed })
  assert.equal((await json(wait, 1))['state'], 'failed')
  server.operations.run = () => Promise.reject(new FeedmeshError('PEER_UNREACHABLE', 'no address of hub answers'))
  const unreachable = await failure(wait)
  assert.deepEqual([unreachable.exitCode, unreachable.code], [6, 'PEER_UNREACHABLE'])
  server.operations.run = async () => SUCCEEDED
})

test('with --all one replication that cannot run does not keep the others from running', async () => {
  const { operations } = server
  operations.replications.clear()
  assert.deepEqual(await json(['replication', 'run', '--all', '--wait']), { runs: [] })
  for (const feed of ['a', 'b']) operations.addReplicationOf(feed)
  let runs = 0
  operations.run = async () => {
    runs += 1
    if (runs === 1) throw new FeedmeshError('PEER_UNREACHABLE', 'no address of hub answers')
    return SUCCEEDED
  }
  const mixed = (await json(['replication', 'run', '--all', '--wait'], 4)) as { runs: { state: string }[] }
  assert.deepEqual(
    mixed.runs.map(({ state }) => state),
    ['failed', 'succeeded'],
  )
  operations.run = async () => SUCCEEDED
  assert.equal(((await json(['replication', 'run', '--all'])) as { started: string[] }).started.length, 2)
})

test('join, and its five refusals', async () => {
  const joined = await json(['join', 'fmj1_good', '--as', 'mine'])
  assert.deepEqual(joined['feeds'], [{ name: 'mine', type: 'npm' }])
  assert.deepEqual(Object.keys(joined).sort(), ['feeds', 'replications'])
  assert.equal((await json(['join', 'fmj1_good', '--check']))['ok'], true)
  const codes = ['fmj1_mistyped', 'fmj1_expired', 'fmj1_lost', 'fmj1_other', '-']
  const refusals = await Promise.all(codes.map((code) => failure(['join', code])))
  const outcomes = refusals.map(({ exitCode, code }) => [exitCode, code])
  assert.deepEqual(outcomes, [
    [2, 'TOKEN_MISTYPED'],
    [5, 'TOKEN_EXPIRED'],
    [6, 'PEER_UNREACHABLE'],
    [5, 'TOKEN_UNKNOWN'],
    [2, 'TOKEN_MISTYPED'],
  ])
})

test('publish and import send what fits, say what was skipped and why, and go on after failures', async () => {
  server.operations.addFeed('packages')
  server.operations.addFeed('files', 'assets')
  const directory = join(folder, 'packages')
  await mkdir(join(directory, 'deep'), { recursive: true })
  await writeFile(join(directory, 'a.tgz'), await createTarball({ name: 'a', version: '1.0.0' }))
  await writeFile(join(directory, 'deep', 'b.tgz'), await createTarball({ name: 'b', version: '1.0.0' }))
  await writeFile(join(directory, 'broken.tgz'), 'not a tarball')
  await writeFile(join(directory, 'README.md'), 'hello')
  const published = await json(['publish', 'packages', join(directory, 'a.tgz')])
  assert.deepEqual(published['published'], [
    { file: join(directory, 'a.tgz'), unit: 'a', key: 'v/1.0.0', item: 'a@1.0.0' },
  ])
  const again = await failure(['publish', 'packages', join(directory, 'a.tgz')])
  assert.deepEqual([again.exitCode, again.code], [1, 'EXISTS'])
  type Imported = Record<'published' | 'skipped' | 'failed', { file: string; code?: string }[]>
  const imported = (await json(['import', 'packages', directory], 4)) as Imported
  const names = (list: readonly { file: string }[]) => list.map(({ file }) => file.slice(directory.length + 1))
  assert.deepEqual(names(imported.published), ['deep/b.tgz'])
  assert.deepEqual(names(imported.skipped).sort(), ['README.md', 'a.tgz'])
  assert.deepEqual(names(imported.failed), ['broken.tgz'])
  assert.equal(imported.failed[0]?.code, 'BAD_PACKAGE')
  const assets = (await json(['import', 'files', directory])) as unknown as { published: { item: string }[] }
  assert.ok(assets.published.some(({ item }) => item === 'deep/b.tgz'))
  const missing = await failure(['publish', 'packages', join(folder, 'none.tgz')])
  assert.deepEqual([missing.exitCode, missing.code], [2, 'BAD_INPUT'])
  const typo = await failure(['import', 'pakcages', directory])
  assert.match(typo.message, /Did you mean packages\?/)
})

test('a key of the feed is enough to publish to it', async () => {
  server.operations.addFeed('ci')
  const path = join(folder, 'ci.tgz')
  await writeFile(path, await createTarball({ name: 'ci', version: '1.0.0' }))
  const key = server.operations.addKey('ci', ['publish'])
  assert.equal((await feedmesh(['publish', 'ci', path], key)).exitCode, 0)
  const reader = await failure(['publish', 'ci', path], server.operations.addKey('ci', ['read']))
  assert.deepEqual([reader.exitCode, reader.code], [5, 'FORBIDDEN'])
})

test('maintenance commands exit with what is left damaged', async () => {
  assert.equal(((await json(['verify'], 1)) as { damaged: unknown[] }).damaged.length, 1)
  await json(['verify', '--repair'])
  assert.deepEqual(await json(['gc', '--dry-run']), { blobs: 2, bytes: 2048, feeds: 0, kept: 1 })
  assert.equal(server.operations.audit.at(-1)?.action, 'reclaim true')
  assert.equal((await json(['backup', '/srv/copy']))['directory'], '/srv/copy')
})

test('who may not, gets exit code 5; where no node answers, 3 and the command that starts it', async () => {
  const unknown = await failure(['status'], 'fmk_unknown')
  assert.deepEqual([unknown.exitCode, unknown.code], [5, 'UNAUTHENTICATED'])
  const reader = await failure(['status'], server.operations.addKey(null, ['read']))
  assert.deepEqual([reader.exitCode, reader.code], [5, 'FORBIDDEN'])
  const empty = await runCommand(['status', '--json', '--data', join(folder, 'no-node')])
  assert.equal(empty.exitCode, 3)
  assert.match(empty.stderr, /NODE_NOT_RUNNING.*feedmesh start --data .*no-node/)
  const env = { FEEDMESH_URL: 'http://127.0.0.1:1', FEEDMESH_API_KEY: 'x' }
  const down = await runCommand(['status', '--json'], { env })
  assert.equal(down.exitCode, 3)
  assert.match(down.stderr, /no node answers at http:\/\/127\.0\.0\.1:1/)
  const half = await runCommand(['status', '--json'], { env: { FEEDMESH_URL: server.url } })
  assert.equal(half.exitCode, 5)
})

test('wrong usage gets exit code 2 and says what was meant', async () => {
  const cases = [
    [['feeed', 'list'], /Did you mean feed\?/, 'feedmesh --help'],
    [['feed', 'crate'], /Did you mean create\?/, 'feedmesh feed --help'],
    [['feed'], /needs a sub-command/, 'feedmesh feed --help'],
    [['feed', 'create', 'x'], /--type/, 'feedmesh feed create --help'],
    [['feed', 'list', '--quite'], /Did you mean --quiet\?/, 'feedmesh feed list --help'],
    [['replication', 'add', '--feed', 'x', '--mode', 'push'], /--incoming/, 'feedmesh replication add --help'],
    [
      ['replication', 'add', '--feed', 'x', '--incoming', '--outgoing', '--mode', 'push'],
      /cannot be used with/,
      'feedmesh replication add --help',
    ],
    [
      ['replication', 'add', '--feed', 'x', '--outgoing', '--mode', 'pull', '--every', 'often'],
      /"often" is not a duration/,
      'feedmesh replication add --help',
    ],
    [['replication', 'run'], /which one/, 'feedmesh replication run --help'],
    [['key', 'create', '--can', 'pubish'], /Did you mean publish\?/, 'feedmesh key create --help'],
    [[], /no command/, 'feedmesh --help'],
  ] as const
  const outcomes = await Promise.all(cases.map(async (one) => [...one, await failure(one[0])] as const))
  for (const [args, message, cure, refused] of outcomes) {
    assert.deepEqual([refused.exitCode, refused.code, refused.cure], [2, 'BAD_INPUT', cure], args.join(' '))
    assert.match(refused.message, message)
  }
})

test('for people there are tables and sentences; every error ends in a command', async () => {
  server.operations.addFeed('readable')
  const list = await feedmesh(['feed', 'list'])
  assert.match(list.stdout, /^NAME +TYPE +ENTRIES +SIZE +READ\n/)
  assert.doesNotMatch(list.stdout, new RegExp(String.fromCharCode(27)))
  const refused = await feedmesh(['feed', 'show', 'raedable'])
  assert.equal(refused.exitCode, 1)
  assert.match(refused.stderr, /^Error: .*Did you mean readable\? \(NOT_FOUND\)\nTry: feedmesh feed list\n$/)
  const quiet = await feedmesh(['key', 'create', '--can', 'read', '--quiet'])
  assert.match(quiet.stdout, /^fmk_\S+\n$/)
})

test('what peers and publishers wrote cannot drive the terminal', async () => {
  const run = await feedmesh(['runs', '7'])
  assert.match(run.stdout, /evil\\u001b\[31m@1/)
})
