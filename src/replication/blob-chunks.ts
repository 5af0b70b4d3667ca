/**
 * One blob that is being put together by chunks, each by one peer or by two that race. A chunk counts, and can be given to
 * others, once it is the listed one.
 */

import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { RequestedPart } from '../fetching/requests.ts'
import { type BlobStore, CHUNK_BYTES, type SealedBlob, type StagedChunks } from '../store/blobs.ts'
import type { Assemblies, PartAssembly } from './blob-assembly.ts'
import type { WantedBlob } from './blob-fetcher.ts'

class ChunkAssembly implements PartAssembly {
  readonly wanted: WantedBlob
  readonly index: number
  /** As `isAlone` of the part. */
  readonly isAlone: boolean
  users = 0
  readonly #staged: StagedChunks
  readonly #bytes: number
  #turn: Promise<unknown> = Promise.resolve()
  #isOver = false

  constructor(wanted: WantedBlob, staged: StagedChunks, { start, to, isAlone }: RequestedPart) {
    this.wanted = wanted
    this.#staged = staged
    this.index = start / CHUNK_BYTES
    this.#bytes = to - start
    this.isAlone = isAlone
    if (isAlone) staged.forget(this.index)
  }

  get size(): number {
    return this.#staged.isVerified(this.index) ? this.#bytes : this.#staged.heldOf(this.index)
  }

  accept(position: number, piece: Uint8Array): Promise<number | FeedmeshError> {
    return this.#inTurn(async () => {
      const known = this.size - position
      if (this.#isOver || known < 0 || known >= piece.length) return 0
      try {
        await this.#staged.write(this.index, piece.subarray(known))
        return piece.length - known
      } catch (error) {
        return asFeedmeshError(error)
      }
    })
  }

  finish(): Promise<'verified' | FeedmeshError | undefined> {
    return this.#inTurn(async () => {
      if (this.#isOver || this.size !== this.#bytes) return undefined
      this.#isOver = true
      try {
        await this.#staged.verify(this.index)
        return 'verified'
      } catch (error) {
        return asFeedmeshError(error)
      }
    })
  }

  /** Nothing is written any more. */
  leave(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.isAlone && !this.#isOver) this.#staged.forget(this.index)
      this.#isOver = true
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined) // Whoever asked for it is told.
    return done
  }
}

export class ChunkedBlob implements Assemblies {
  readonly wanted: WantedBlob
  readonly #staged: StagedChunks
  readonly #assemblies = new Map<number, ChunkAssembly>()
  readonly #leaving = new Map<number, Promise<void>>()
  #users = 0
  /** Its chunks are to be kept once nobody writes any more. */
  #isLeft = false
  #isOver = false

  private constructor(wanted: WantedBlob, staged: StagedChunks) {
    this.wanted = wanted
    this.#staged = staged
  }

  /** @throws as `BlobStore.stageChunks` */
  static async open(
    blobs: BlobStore,
    wanted: WantedBlob & { readonly chunkRoot: NonNullable<WantedBlob['chunkRoot']> },
    list: { readonly chunkList: Uint8Array; readonly signal: AbortSignal },
  ): Promise<ChunkedBlob> {
    const { digest, size, chunkRoot } = wanted
    return new ChunkedBlob(wanted, await blobs.stageChunks({ digest, size, chunkRoot, ...list }))
  }

  /** Numbers of the chunks that are here. */
  get verified(): number[] {
    return Array.from({ length: this.#staged.count }, (_, index) => index).filter((index) =>
      this.#staged.isVerified(index),
    )
  }

  get isWhole(): boolean {
    return this.verified.length === this.#staged.count
  }

  async take(_wanted: WantedBlob, part: RequestedPart): Promise<ChunkAssembly> {
    const index = part.start / CHUNK_BYTES
    await this.#leaving.get(index)
    if (this.#isOver) throw new FeedmeshError('ABORTED', `the fetch of ${this.wanted.digest} is over`)
    const assembly = this.#assemblies.get(index) ?? new ChunkAssembly(this.wanted, this.#staged, part)
    this.#assemblies.set(index, assembly)
    assembly.users += 1
    this.#users += 1
    return assembly
  }

  forget(assembly: ChunkAssembly): void {
    if (this.#assemblies.get(assembly.index) === assembly) this.#assemblies.delete(assembly.index)
  }

  async release(assembly: ChunkAssembly): Promise<void> {
    assembly.users -= 1
    this.#users -= 1
    if (assembly.users === 0) await this.#leaveChunk(assembly)
    if (this.#isLeft) await this.leave()
  }

  async #leaveChunk(assembly: ChunkAssembly): Promise<void> {
    this.forget(assembly)
    const leaving = assembly.leave()
    this.#leaving.set(assembly.index, leaving)
    await leaving
    if (this.#leaving.get(assembly.index) === leaving) this.#leaving.delete(assembly.index)
  }

  /** The stored blob, or why there is none. Its chunks can be read until it is disposed of. */
  async seal(): Promise<SealedBlob | FeedmeshError> {
    try {
      return await this.#staged.seal()
    } catch (error) {
      this.#isOver = true
      await this.#staged[Symbol.asyncDispose]()
      return asFeedmeshError(error)
    }
  }

  /** It is known to the store. */
  async close(): Promise<void> {
    this.#isOver = true
    await this.#staged[Symbol.asyncDispose]()
  }

  /** What is verified stays for the next attempt, unless the disk does not let it; as soon as nobody writes any more. */
  async leave(): Promise<void> {
    this.#isLeft = true
    if (this.#users > 0 || this.#isOver) return
    this.#isOver = true
    try {
      await this.#staged.keep()
    } catch (error) {
      if (!isFeedmeshError(error)) throw error
    } finally {
      await this.#staged[Symbol.asyncDispose]()
    }
  }
}
