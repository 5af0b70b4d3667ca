/** Contents to store, and the steps that tests of blob stores share. */

import { createHash } from 'node:crypto'
import type { Digest } from '../../src/catalog/digest.ts'
import type { BlobStore, ByteRange, SealedBlob, StageOptions } from '../../src/store/blobs.ts'
import type { Records } from '../../src/store/records.ts'

/** Limit of stagings that are not to meet one. */
export const MAX_BYTES = 64 * 1024 * 1024

export interface BlobsUnderTest extends AsyncDisposable {
  readonly blobs: BlobStore
  readonly records: Records
  /** Moves the clock of the store. */
  advance(ms: number): void
}

/** Bytes that differ at every place and between seeds. */
export function content(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size)
  let state = seed * 2_654_435_761
  for (let i = 0; i < size; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    bytes[i] = state >>> 24
  }
  return bytes
}

export function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

export async function stageBytes(
  blobs: BlobStore,
  bytes: Uint8Array,
  options?: Partial<StageOptions>,
): Promise<SealedBlob> {
  await using staged = await blobs.stage({ maxBytes: MAX_BYTES, ...options })
  await staged.write(bytes)
  return staged.seal()
}

/** Stages and makes it known. */
export async function storeBytes(under: BlobsUnderTest, bytes: Uint8Array): Promise<SealedBlob> {
  const sealed = await stageBytes(under.blobs, bytes)
  await under.records.write(sealed.writes)
  return sealed
}

export async function readAll(blobs: BlobStore, digest: Digest, range?: ByteRange): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of await blobs.open(digest, range)) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}
