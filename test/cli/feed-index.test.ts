/** `feed edit` and `feed index-key`: what makes clients refuse updates is told first. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openTestServer, type TestServer } from '../support/http-server.ts'
import { type CommandResult, runCommand } from './command.ts'

let server: TestServer

before(async () => {
  server = await openTestServer()
  server.operations.addFeed('os', 'debian')
})

after(() => server[Symbol.asyncDispose]())

function feedmesh(...args: readonly string[]): Promise<CommandResult> {
  const env = { FEEDMESH_URL: server.url, FEEDMESH_API_KEY: server.operations.adminKey }
  return runCommand(['feed', ...args], { env })
}

const actions = () => server.operations.audit.map(({ action }) => action)

test('edit says what clients must do and asks for --yes', async () => {
  const asked = await feedmesh('edit', 'os', '--index', 'own')
  assert.equal(asked.exitCode, 2)
  assert.match(asked.stdout, /Every client of this node must be given its key anew[^]*feed edit os --index own --yes/)
  assert.deepEqual(actions(), [])
  const done = await feedmesh('edit', 'os', '--index', 'own', '--yes', '--json')
  assert.equal(done.exitCode, 0)
  assert.deepEqual(JSON.parse(done.stdout), { name: 'os', index: 'own', chosen: true, keys: ['CD'.repeat(20)] })
  assert.deepEqual(actions(), ['feed edit os own'])
  assert.equal((await feedmesh('edit', 'os', '--index', 'own')).exitCode, 0)
  assert.equal((await feedmesh('edit', 'os', '--index', 'other')).exitCode, 2)
  assert.equal((await feedmesh('edit', 'os')).exitCode, 2)
  assert.match((await feedmesh('edit', 'o', '--index', 'own')).stderr, /Did you mean os\?/)
})

test('edit says whether a feed takes unsigned packages, where its type knows what is signed', async () => {
  const created = await feedmesh('create', 'pkgs', '--type', 'rpm', '--unsigned', 'refuse', '--json')
  const { unsigned, ...rest } = JSON.parse(created.stdout) as Record<string, unknown>
  assert.deepEqual(
    [unsigned, Object.keys(rest).sort()],
    ['refuse', ['bytes', 'entries', 'id', 'name', 'publicRead', 'type']],
  )
  assert.match((await feedmesh('show', 'pkgs')).stdout, /^unsigned packages +refused$/m)
  const edited = await feedmesh('edit', 'pkgs', '--unsigned', 'accept', '--json')
  assert.deepEqual(JSON.parse(edited.stdout), { ...rest, unsigned: 'accept' })
  const shown = JSON.parse((await feedmesh('show', 'pkgs', '--json')).stdout) as { unsigned: string }
  assert.equal(shown.unsigned, 'accept')
  assert.ok(actions().includes('feed edit pkgs accept'))
  assert.match((await feedmesh('edit', 'pkgs', '--unsigned', 'refuse')).stdout, /^pkgs refuses packages .* not signed/)
  assert.match((await feedmesh('edit', 'pkgs', '--max-rate', '1MiB/s')).stdout, /at most 1\.0 MiB\/s each way/)
  assert.match((await feedmesh('edit', 'pkgs', '--max-rate', 'none')).stdout, /as fast as the network allows/)
  const before = actions()
  for (const [args, why] of [
    [['create', 'other', '--type', 'debian', '--unsigned', 'refuse'], /--unsigned is for feeds of type rpm;/],
    [['edit', 'os', '--unsigned', 'refuse'], /--unsigned is for feeds of type rpm; .* of type debian/],
    [['edit', 'pkgs', '--unsigned', 'maybe'], /accept, refuse/],
    [
      ['edit', 'pkgs', '--unsigned', 'accept', '--index', 'own'],
      /say one of --index own\|replica, --unsigned accept\|refuse and --max-rate/,
    ],
    [['edit', 'pkg', '--unsigned', 'accept'], /Did you mean pkgs\?/],
  ] as const) {
    const { exitCode, stderr } = await feedmesh(...args)
    assert.notEqual(exitCode, 0, args.join(' '))
    assert.match(stderr, why)
  }
  assert.deepEqual(actions(), before)
  assert.ok(!('unsigned' in JSON.parse((await feedmesh('show', 'os', '--json')).stdout)))
})

test('index-key prints fingerprints, with --export the private key alone, and makes a new one with --yes only', async () => {
  const shown = await feedmesh('index-key', 'os', '--quiet')
  assert.deepEqual([shown.exitCode, shown.stdout], [0, `${'AB'.repeat(20)}\n`])
  const exported = await feedmesh('index-key', 'os', '--export', '--quiet')
  assert.deepEqual([exported.stdout, exported.stderr], ['armored secret\n', ''])
  const asked = await feedmesh('index-key', 'os', '--new')
  assert.equal(asked.exitCode, 2)
  assert.match(asked.stdout, /until then it refuses updates[^]*--new --yes/)
  assert.ok(!actions().includes('feed index-key --new os'))
  assert.equal((await feedmesh('index-key', 'os', '--new', '--yes')).exitCode, 0)
  assert.ok(actions().includes('feed index-key --new os'))
})
