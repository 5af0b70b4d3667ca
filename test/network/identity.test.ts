import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { isFeedmeshError } from '../../src/errors.ts'
import { createIdentity, generateIdentity, openIdentity } from '../../src/network/identity.ts'

async function keyFile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-identity-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return join(folder, 'node.key')
}

test('a created key is stored for its owner alone and is the same when opened again', async (t) => {
  const file = await keyFile(t)
  const created = await createIdentity(file)
  const info = await stat(file)
  assert.equal(info.mode & 0o777, 0o600)
  assert.equal(info.size, 68)
  assert.deepEqual(await readdir(join(file, '..')), ['node.key'])
  const opened = await openIdentity(file)
  assert.equal(opened.peerId, created.peerId)
  assert.deepEqual(opened.publicKey, created.publicKey)
  assert.deepEqual(opened.exportProtobuf(), Uint8Array.from(await readFile(file)))
})

test('libp2p reads the file as the same key, and files of libp2p are read', async (t) => {
  const file = await keyFile(t)
  const created = await createIdentity(file)
  assert.equal(peerIdFromPrivateKey(privateKeyFromProtobuf(await readFile(file))).toString(), created.peerId)
  const theirs = await generateKeyPair('Ed25519')
  await writeFile(file, privateKeyToProtobuf(theirs), { mode: 0o600 })
  assert.equal((await openIdentity(file)).peerId, peerIdFromPrivateKey(theirs).toString())
})

test('signatures are plain Ed25519 of 64 bytes', async () => {
  const identity = generateIdentity()
  const message = Buffer.from('the state of a feed')
  const signature = identity.sign(message)
  assert.equal(signature.byteLength, 64)
  assert.equal(verify(null, message, createPublicKey(identity.keyObject()), signature), true)
  assert.equal(await privateKeyFromProtobuf(identity.exportProtobuf()).publicKey.verify(message, signature), true)
})

test('the secret does not show when an identity is printed or serialised', () => {
  const identity = generateIdentity()
  const secret = Buffer.from(identity.exportProtobuf().subarray(4, 36))
  for (const shown of [inspect(identity, { depth: 9, showHidden: true }), JSON.stringify(identity)]) {
    assert.ok(!shown.includes(secret.toString('hex')))
    assert.ok(!shown.includes([...secret.subarray(0, 8)].join(', ')))
  }
})

test('a file that others can read is refused with the command that mends it', {
  skip: process.platform === 'win32',
}, async (t) => {
  const file = await keyFile(t)
  await createIdentity(file)
  for (const mode of [0o640, 0o604, 0o644, 0o620]) {
    await chmod(file, mode)
    await assert.rejects(
      openIdentity(file),
      (error) => isFeedmeshError(error, 'FORBIDDEN') && error.message.includes(`chmod 600 ${file}`),
    )
  }
  await chmod(file, 0o400)
  await openIdentity(file)
})

test('a damaged file is CORRUPT, a missing one NOT_FOUND, an existing one is never replaced', async (t) => {
  const file = await keyFile(t)
  await assert.rejects(openIdentity(file), (error) => isFeedmeshError(error, 'NOT_FOUND'))
  await createIdentity(file)
  const good = await readFile(file)
  await assert.rejects(createIdentity(file), (error) => isFeedmeshError(error, 'EXISTS'))
  assert.deepEqual(await readFile(file), good)

  const damaged = [
    good.subarray(0, 67),
    Buffer.concat([good, Buffer.of(0)]),
    Buffer.alloc(68),
    Buffer.concat([good.subarray(0, 40), Buffer.alloc(28)]),
    Buffer.alloc(0),
  ]
  for (const bytes of damaged) {
    await writeFile(file, bytes)
    await assert.rejects(
      openIdentity(file),
      (error) => isFeedmeshError(error, 'CORRUPT') && error.message.includes(file),
    )
  }
  await truncate(file, 0)
  await assert.rejects(openIdentity(join(file, '..')), (error) => isFeedmeshError(error, 'CORRUPT'))
})

test('what a kill while creating left behind is no obstacle', async (t) => {
  const file = await keyFile(t)
  await writeFile(`${file}.new`, 'half a key', { mode: 0o644 })
  const created = await createIdentity(file)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.equal((await openIdentity(file)).peerId, created.peerId)
  assert.deepEqual(await readdir(join(file, '..')), ['node.key'])
})
