/** `feed new-epoch`, `recovery-key`, `recover`, `returned`: nothing that cannot be undone happens without `--yes`. */

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { OTHER_PEER_ID } from '../support/fake-results.ts'
import { openTestServer, type TestServer } from '../support/http-server.ts'
import { type CommandResult, runCommand } from './command.ts'

let server: TestServer
let folder: string

before(async () => {
  server = await openTestServer()
  server.operations.addFeed('tools')
  folder = await mkdtemp(join(tmpdir(), 'feedmesh-past-'))
})

after(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

function feedmesh(args: readonly string[], stdin = ''): Promise<CommandResult> {
  const env = { FEEDMESH_URL: server.url, FEEDMESH_API_KEY: server.operations.adminKey }
  return runCommand(['feed', ...args], { env, stdin })
}

const actions = () => server.operations.audit.map(({ action }) => action)

test('new-epoch says what it would do and asks for --yes', async () => {
  const asked = await feedmesh(['new-epoch', 'tools'])
  assert.equal(asked.exitCode, 2)
  for (const part of [/from epoch 1 to 2/, /cannot be undone/, /4 peers/, /ends the fork/, /2 states/, /--yes$/m])
    assert.match(asked.stdout, part)
  assert.ok(asked.stdout.includes(OTHER_PEER_ID), 'who has not been asked')
  assert.ok(!actions().includes('feed new-epoch tools'))
  const done = await feedmesh(['new-epoch', 'tools', '--yes', '--json'])
  assert.equal(done.exitCode, 0)
  const fields = ['entries', 'epoch', 'forked', 'lostStates', 'name', 'nextEpoch', 'peers', 'unaskedPeers']
  assert.deepEqual(Object.keys(JSON.parse(done.stdout) as object).sort(), fields)
  assert.ok(actions().includes('feed new-epoch tools'))
  const unknown = await feedmesh(['new-epoch', 'tool', '--yes'])
  assert.equal(unknown.exitCode, 1)
  assert.match(unknown.stderr, /Did you mean tools\?/)
})

test('the recovery key is printed alone, taken off the node when asked to, and used with --yes only', async () => {
  const printed = await feedmesh(['recovery-key', 'tools', '--quiet'])
  assert.deepEqual([printed.exitCode, printed.stdout, printed.stderr], [0, 'fmr1_secret\n', ''])
  const forgotten = await feedmesh(['recovery-key', 'tools', '--forget', '--json'])
  assert.deepEqual(JSON.parse(forgotten.stdout), { forgotten: 'tools' })
  const file = join(folder, 'recovery.key')
  await writeFile(file, 'fmr1_good\n')
  const asked = await feedmesh(['recover', '--key-file', file])
  assert.equal(asked.exitCode, 2)
  assert.match(asked.stdout, /becomes the owner[^]*cannot be undone[^]*--yes/)
  assert.ok(!actions().some((action) => action.startsWith('feed recover ')))
  const done = await feedmesh(['recover', '--key-file', '-', '--as', 'rescued', '--yes', '--json'], 'fmr1_good\n')
  assert.equal(done.exitCode, 0, done.stderr)
  const document = { feedId: 'id-rescued', name: 'rescued', generation: 1, epoch: 2, charterVersion: 3 }
  assert.deepEqual(JSON.parse(done.stdout), document)
  await writeFile(file, 'fmr1_other')
  assert.match((await feedmesh(['recover', '--key-file', file, '--yes'])).stderr, /TOKEN_MISTYPED|not a whole/)
  assert.equal((await feedmesh(['recover', '--key-file', join(folder, 'none'), '--yes'])).exitCode, 2)
  assert.equal((await feedmesh(['recover', '--key-file', file, '--charter-version', 'x', '--yes'])).exitCode, 2)
})

test('returned lists what came back, and answers one way or the other', async () => {
  const listed = await feedmesh(['returned', 'tools'])
  assert.equal(listed.exitCode, 0)
  assert.match(listed.stdout, /came back +left-pad +v\/1\.0\.0 +2 +hidden[^]*--show, or --hide/)
  const answered = await feedmesh(['returned', 'tools', '--hide', '--json'])
  assert.deepEqual(JSON.parse(answered.stdout), { answered: 1 })
  assert.ok(actions().includes('feed returned tools hide'))
  const both = await feedmesh(['returned', 'tools', '--hide', '--show'])
  assert.equal(both.exitCode, 2)
})
