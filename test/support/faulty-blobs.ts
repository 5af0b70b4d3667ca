/** A blob store whose n-th operation fails; the steps of a staging count as operations too. */

import type { Digest } from '../../src/catalog/digest.ts'
import type {
  BlobStore,
  ByteRange,
  ChunkStageOptions,
  StagedBlob,
  StagedChunks,
  StageOptions,
} from '../../src/store/blobs.ts'
import { FailureCounter, type FailureMode } from './faulty-records.ts'

export interface FaultyBlobs extends BlobStore {
  readonly operations: number
  heal(): void
}

function faultyStaging(staged: StagedBlob, counter: FailureCounter): StagedBlob {
  return {
    offset: staged.offset,
    get size() {
      return staged.size
    },
    async write(chunk: Uint8Array) {
      counter.count('write')
      return staged.write(chunk)
    },
    async seal(expected?: Digest) {
      counter.count('write')
      return staged.seal(expected)
    },
    async keep() {
      counter.count('write')
      return staged.keep()
    },
    [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose](),
  }
}

function faultyChunks(staged: StagedChunks, counter: FailureCounter): StagedChunks {
  return {
    count: staged.count,
    isVerified: (index) => staged.isVerified(index),
    heldOf: (index) => staged.heldOf(index),
    forget: (index) => staged.forget(index),
    async write(index: number, bytes: Uint8Array) {
      counter.count('write')
      return staged.write(index, bytes)
    },
    verify: (index) => staged.verify(index),
    async seal() {
      counter.count('write')
      return staged.seal()
    },
    async keep() {
      counter.count('write')
      return staged.keep()
    },
    [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose](),
  }
}

async function* countedItems<T>(items: AsyncIterable<T>, counter: FailureCounter): AsyncGenerator<T> {
  counter.count('read')
  for await (const item of items) {
    counter.count('read')
    yield item
  }
}

/** `n` counts from 1; 0 never fails. */
export function failNth(blobs: BlobStore, n: number, error: Error, mode: FailureMode = 'once'): FaultyBlobs {
  const counter = new FailureCounter(n, error, mode)
  return {
    get operations() {
      return counter.operations
    },
    heal: () => counter.heal(),
    async find(digest: Digest) {
      counter.count('read')
      return blobs.find(digest)
    },
    async has(digests: readonly Digest[]) {
      counter.count('read')
      return blobs.has(digests)
    },
    async open(digest: Digest, range?: ByteRange) {
      counter.count('read')
      return blobs.open(digest, range)
    },
    async openPieces(digest: Digest, range?: ByteRange) {
      counter.count('read')
      return blobs.openPieces(digest, range)
    },
    async findSmall(digests: readonly Digest[]) {
      counter.count('read')
      return blobs.findSmall(digests)
    },
    async read(digest: Digest, maxBytes: number) {
      counter.count('read')
      return blobs.read(digest, maxBytes)
    },
    async stage(options: StageOptions) {
      counter.count('write')
      return faultyStaging(await blobs.stage(options), counter)
    },
    async partialSize(digest: Digest) {
      counter.count('read')
      return blobs.partialSize(digest)
    },
    async stageChunks(options: ChunkStageOptions) {
      counter.count('write')
      return faultyChunks(await blobs.stageChunks(options), counter)
    },
    async hasKeptChunks(digest: Digest) {
      counter.count('read')
      return blobs.hasKeptChunks(digest)
    },
    async openVerified(digest: Digest, range: ByteRange) {
      counter.count('read')
      return blobs.openVerified(digest, range)
    },
    async verifyBlob(digest: Digest, signal?: AbortSignal) {
      counter.count('read')
      return blobs.verifyBlob(digest, signal)
    },
    async remove(digest: Digest) {
      counter.count('write')
      return blobs.remove(digest)
    },
    settle: (digest: Digest) => blobs.settle(digest),
    async readmit(digest: Digest) {
      counter.count('write')
      return blobs.readmit(digest)
    },
    list: () => countedItems(blobs.list(), counter),
    orphans: () => countedItems(blobs.orphans(), counter),
  }
}
