/**
 * One blob that is being put together, by one peer or by two that race: each piece counts where it goes on from what is here,
 * and the rest of it is thrown away.
 */

import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { RequestedPart } from '../fetching/requests.ts'
import { type BlobStore, MAX_INLINE_BYTES, type SealedBlob, type StagedBlob } from '../store/blobs.ts'
import type { WantedBlob } from './blob-fetcher.ts'
import type { BlobFollowers } from './blob-followers.ts'
import type { BlobFollower } from './growing-blob.ts'

/** Where the bytes of a part go. Positions are counted from its start. */
export interface PartAssembly {
  readonly wanted: WantedBlob
  /** Requests that may still write. */
  readonly users: number
  /** Bytes of it that are here. */
  readonly size: number
  /** @returns how many bytes of the piece were new; or why they cannot be stored, after which nothing is kept */
  accept(position: number, piece: Uint8Array): Promise<number | FeedmeshError>
  /**
   * What all of its bytes come to: a stored blob, a chunk that counts, or why neither; undefined when they are not all here, or
   * somebody else has finished it.
   */
  finish(): Promise<SealedBlob | 'verified' | FeedmeshError | undefined>
}

/** Where the parts of blobs are put together, each once at a time. */
export interface Assemblies {
  /** The caller lets go of it. @throws BUSY when somebody else fetches the blob; STORAGE_FULL, STORAGE_IO */
  take(wanted: WantedBlob, part: RequestedPart): Promise<PartAssembly>
  /** What follows begins with a new one. */
  forget(assembly: PartAssembly): void
  release(assembly: PartAssembly): Promise<void>
}

/** Small blobs are not worth taking up again: they cost less than finding out. */
export function isResumed({ size, digest }: WantedBlob): boolean {
  return size > MAX_INLINE_BYTES || digest.startsWith('sha512:')
}

async function stage(blobs: BlobStore, wanted: WantedBlob): Promise<StagedBlob> {
  return await blobs.stage({ maxBytes: wanted.size, ...(isResumed(wanted) ? { resume: wanted.digest } : {}) })
}

export class BlobAssembly implements PartAssembly {
  readonly wanted: WantedBlob
  users = 0
  /** Whether what an earlier attempt left must not be used, nor what this one leaves. */
  readonly isAlone: boolean
  readonly #staged: StagedBlob
  readonly #followers: BlobFollowers
  #turn: Promise<unknown> = Promise.resolve()
  #isOver = false

  private constructor(
    wanted: WantedBlob,
    staged: StagedBlob,
    how: { readonly isAlone: boolean; readonly followers: BlobFollowers },
  ) {
    this.wanted = wanted
    this.#staged = staged
    this.isAlone = how.isAlone
    this.#followers = how.followers
  }

  /** @throws BUSY when somebody else fetches the blob; STORAGE_FULL, STORAGE_IO */
  static async open(
    blobs: BlobStore,
    wanted: WantedBlob,
    how: { readonly isAlone: boolean; readonly followers: BlobFollowers },
  ): Promise<BlobAssembly> {
    let staged = await stage(blobs, wanted)
    if (how.isAlone && staged.offset > 0) {
      await staged[Symbol.asyncDispose]()
      staged = await stage(blobs, wanted)
    }
    try {
      await how.followers.find(wanted.digest)?.begin(staged)
    } catch (error) {
      await staged[Symbol.asyncDispose]()
      throw error
    }
    return new BlobAssembly(wanted, staged, how)
  }

  get size(): number {
    return this.#staged.size
  }

  /** Whether nothing more is written, because it was sealed or left. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Lets those read along who have come since. @throws as `StagedBlob.openReader` */
  follow(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#isOver) await this.#follower?.begin(this.#staged)
    })
  }

  get #follower(): BlobFollower | undefined {
    return this.#followers.find(this.wanted.digest)
  }

  accept(position: number, piece: Uint8Array): Promise<number | FeedmeshError> {
    return this.#inTurn(async () => {
      const known = this.size - position
      if (this.#isOver || known < 0 || known >= piece.length) return 0
      try {
        await this.#staged.write(piece.subarray(known))
        this.#follower?.grown()
        return piece.length - known
      } catch (error) {
        return asFeedmeshError(error)
      }
    })
  }

  finish(): Promise<SealedBlob | FeedmeshError | undefined> {
    return this.#inTurn(async () => {
      if (this.#isOver || this.size !== this.wanted.size) return undefined
      this.#isOver = true
      try {
        return await this.#staged.seal(this.wanted.digest)
      } catch (error) {
        await this.#staged[Symbol.asyncDispose]()
        return asFeedmeshError(error)
      }
    })
  }

  /** What arrived of a large blob stays for the next attempt, unless the disk does not let it; then it is fetched anew. */
  leave(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isOver) return
      this.#isOver = true
      try {
        const { size } = this.wanted
        if (this.size > 0 && size > MAX_INLINE_BYTES && !this.isAlone) await this.#staged.keep()
      } catch (error) {
        if (!isFeedmeshError(error)) throw error
      } finally {
        await this.#staged[Symbol.asyncDispose]()
      }
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined) // Whoever asked for it is told.
    return done
  }
}

/** The blobs that one fetch puts together in order, each once at a time. */
export class BlobAssemblies implements Assemblies {
  readonly #blobs: BlobStore
  readonly #followers: BlobFollowers
  readonly #opening = new Map<string, Promise<BlobAssembly>>()
  readonly #leaving = new Map<string, Promise<void>>()
  /** Those that nobody may take any more. */
  readonly #forgotten = new WeakSet<BlobAssembly>()

  constructor(blobs: BlobStore, followers: BlobFollowers) {
    this.#blobs = blobs
    this.#followers = followers
  }

  async take(wanted: WantedBlob, { isAlone }: RequestedPart): Promise<BlobAssembly> {
    const { digest } = wanted
    for (;;) {
      const opening = this.#opening.get(digest) ?? this.#open(wanted, isAlone)
      const assembly = await opening
      if (this.#forgotten.has(assembly)) continue
      assembly.users += 1
      return assembly
    }
  }

  /** Lets those read along who have come since. @throws as `StagedBlob.openReader` */
  async follow(digest: string): Promise<void> {
    const assembly = await this.#opening.get(digest)?.catch(() => undefined) // Whoever takes it is told.
    await assembly?.follow()
  }

  #open(wanted: WantedBlob, isAlone: boolean): Promise<BlobAssembly> {
    const opening = this.#openAfter(this.#leaving.get(wanted.digest), wanted, isAlone)
    this.#opening.set(wanted.digest, opening)
    opening.catch(() => this.#opening.delete(wanted.digest)) // Whoever takes it is told.
    return opening
  }

  async #openAfter(left: Promise<void> | undefined, wanted: WantedBlob, isAlone: boolean): Promise<BlobAssembly> {
    await left
    return await BlobAssembly.open(this.#blobs, wanted, { isAlone, followers: this.#followers })
  }

  forget(assembly: BlobAssembly): void {
    if (this.#forgotten.has(assembly)) return
    this.#forgotten.add(assembly)
    this.#opening.delete(assembly.wanted.digest)
  }

  async release(assembly: BlobAssembly): Promise<void> {
    assembly.users -= 1
    if (assembly.users > 0) return
    this.forget(assembly)
    if (assembly.isOver) return
    const { digest } = assembly.wanted
    const leaving = assembly.leave()
    this.#leaving.set(digest, leaving)
    try {
      await leaving
    } finally {
      if (this.#leaving.get(digest) === leaving) this.#leaving.delete(digest)
    }
  }
}
