/** The Ed25519 key that is this node, and its file. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { peerIdFromPublicKey } from '../catalog/peer-id.ts'
import { FeedmeshError } from '../errors.ts'

/** protobuf PrivateKey: type Ed25519 (08 01), 64 bytes of data (12 40): the seed, then the public key. */
const HEADER = Buffer.from('08011240', 'hex')
const FILE_BYTES = 68
/** PKCS #8 of an Ed25519 key (RFC 8410) up to the 32 bytes of the seed. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** What the key can do. Its secret is behind methods, so that printing or serialising the object never shows it. */
export interface Identity {
  /** Text form, `12D3KooW…`. */
  readonly peerId: string
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array
  /** Ed25519 signature of `bytes`, 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array
  /** The private key as node:crypto takes it: for the certificate of the bulk lane. */
  keyObject(): KeyObject
  /** The 68 bytes of the file: for the libp2p host. */
  exportProtobuf(): Uint8Array
}

/**
 * Reads the key of `file`.
 * @throws NOT_FOUND no such file; FORBIDDEN others than its owner may read it; CORRUPT it is not a key
 */
export async function openIdentity(file: string): Promise<Identity> {
  await using handle = await openFile(file)
  const stat = await handle.stat()
  if (!stat.isFile()) throw new FeedmeshError('CORRUPT', `${file} is not a file; put the node key back from a backup`)
  if (process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
    const mode = (stat.mode & 0o777).toString(8).padStart(4, '0')
    throw new FeedmeshError(
      'FORBIDDEN',
      `the node key ${file} has mode ${mode}, so others can read it; run: chmod 600 ${file}`,
    )
  }
  if (stat.size !== FILE_BYTES) throw notAKey(file, `it has ${stat.size} bytes instead of ${FILE_BYTES}`)
  const bytes = Buffer.alloc(FILE_BYTES)
  const { bytesRead } = await handle.read(bytes, 0, FILE_BYTES, 0)
  if (bytesRead !== FILE_BYTES) throw notAKey(file, `only ${bytesRead} of its ${FILE_BYTES} bytes could be read`)
  return identityFromProtobuf(bytes, file)
}

/**
 * Makes a new key and stores it, mode 0600, on stable storage when the promise resolves. A kill on the way leaves no
 * `file`, at most `<file>.new`, which the next call replaces.
 * @throws EXISTS when there is a file already; STORAGE_FULL, STORAGE_IO
 */
export async function createIdentity(file: string): Promise<Identity> {
  const existing = await openFile(file).catch((error: unknown) => {
    if (error instanceof FeedmeshError && error.code === 'NOT_FOUND') return undefined
    throw error
  })
  if (existing !== undefined) {
    await existing.close()
    throw new FeedmeshError('EXISTS', `there is a node key at ${file} already; a node keeps its key for life`)
  }
  const bytes = generateProtobuf()
  try {
    await writeDurably(file, bytes)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const full = code === 'ENOSPC' || code === 'EDQUOT'
    throw new FeedmeshError(full ? 'STORAGE_FULL' : 'STORAGE_IO', `cannot write the node key ${file}: ${code}`, {
      cause: error,
    })
  }
  return identityFromProtobuf(bytes, file)
}

/** A key that lives in memory only: for tests and demos. */
export function generateIdentity(): Identity {
  return identityFromProtobuf(generateProtobuf(), 'a generated key')
}

async function openFile(file: string): Promise<FileHandle> {
  try {
    return await open(file, constants.O_RDONLY)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') {
      throw new FeedmeshError('NOT_FOUND', `there is no node key at ${file}`, { cause: error })
    }
    throw new FeedmeshError('STORAGE_IO', `cannot open the node key ${file}: ${code}`, { cause: error })
  }
}

async function writeDurably(file: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${file}.new`
  await rm(temporary, { force: true })
  {
    await using handle = await open(temporary, 'wx', 0o600)
    await handle.writeFile(bytes)
    await handle.sync()
  }
  await rename(temporary, file)
  if (process.platform === 'win32') return
  await using folder = await open(dirname(file), constants.O_RDONLY)
  await folder.sync()
}

function generateProtobuf(): Buffer {
  const { privateKey } = generateKeyPairSync('ed25519')
  const seed = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32)
  return Buffer.concat([HEADER, seed, rawPublicKey(privateKey)])
}

function rawPublicKey(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32)
}

function identityFromProtobuf(bytes: Buffer, source: string): Identity {
  if (!bytes.subarray(0, HEADER.length).equals(HEADER)) throw notAKey(source, 'it does not start as an Ed25519 key')
  const seed = bytes.subarray(HEADER.length, HEADER.length + 32)
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' })
  const publicKey = rawPublicKey(key)
  if (!publicKey.equals(bytes.subarray(-32))) throw notAKey(source, 'its two halves do not belong together')
  return {
    peerId: peerIdFromPublicKey(publicKey),
    publicKey: Uint8Array.from(publicKey),
    sign: (message) => Uint8Array.from(sign(null, message, key)),
    keyObject: () => key,
    exportProtobuf: () => Uint8Array.from(bytes),
  }
}

function notAKey(source: string, why: string): FeedmeshError {
  return new FeedmeshError(
    'CORRUPT',
    `${source} is not a node key: ${why}; put it back from a backup (a new key would be a new node)`,
  )
}
