/** One blob on its way into the store: in memory up to 64 KiB, in a draft of the medium beyond that. */

import { createHash } from 'node:crypto'
import { algorithmOf, type Digest, type DigestAlgorithm } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { Draft } from './blob-medium.ts'
import { MAX_INLINE_BYTES, type SealedBlob, type StagedBlob, type StagedReader, type StageOptions } from './blobs.ts'
import { ContentHashes } from './content-hashes.ts'
import { asStorageError } from './storage-errors.ts'

export type FinishedDraft = Pick<Draft, 'commit' | 'discard'>

export interface FinishedContent {
  readonly digest: Digest
  readonly size: number
  readonly hashes: Readonly<Record<string, string>>
  readonly chunkList: Buffer | undefined
  /** The bytes of a blob of at most 64 KiB; the others are in the draft. */
  readonly inline: Buffer | undefined
  readonly draft: FinishedDraft | undefined
}

export interface StagingHost {
  readonly reach: ReachFaultPoint
  createDraft(): Promise<Draft>
  /** Puts a finished content to its final place. The draft is committed or discarded. */
  place(content: FinishedContent): Promise<SealedBlob>
  /** The staging is over, however it ended. */
  release(): void
}

function emptyHashes(options: StageOptions): ContentHashes {
  return new ContentHashes([...(options.hashes ?? []), ...(options.resume ? [algorithmOf(options.resume)] : [])])
}

export class StagedContent implements StagedBlob {
  readonly offset: number
  readonly #options: StageOptions
  readonly #host: StagingHost
  readonly #hashes: ContentHashes
  #head: Buffer[] = []
  #draft: Draft | undefined
  #size: number
  #state: 'open' | 'busy' | 'ended' = 'open'
  #work: Promise<unknown> = Promise.resolve()

  private constructor(options: StageOptions, host: StagingHost, hashes: ContentHashes, draft: Draft | undefined) {
    this.#options = options
    this.#host = host
    this.#hashes = hashes
    this.#draft = draft
    this.offset = draft?.initialSize ?? 0
    this.#size = this.offset
  }

  /** Goes on behind what `draft` holds, which is hashed first; a draft that is over the limit is thrown away. */
  static async begin(options: StageOptions, host: StagingHost, draft: Draft | undefined): Promise<StagedContent> {
    const hashes = emptyHashes(options)
    if (draft === undefined) return new StagedContent(options, host, hashes, undefined)
    try {
      if (draft.initialSize > options.maxBytes) {
        await draft.discard()
        return new StagedContent(options, host, hashes, undefined)
      }
      for await (const piece of draft.read()) hashes.update(piece)
      return new StagedContent(options, host, hashes, draft)
    } catch (error) {
      await draft.discard()
      throw asStorageError(error, 'cannot read what was kept of a blob; it was removed')
    }
  }

  get size(): number {
    return this.#size
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#step('write a blob', async () => {
      if (this.#size + chunk.length > this.#options.maxBytes) {
        throw new FeedmeshError(
          'TOO_LARGE',
          `the file has more than the ${this.#options.maxBytes} bytes that are allowed`,
        )
      }
      await this.#append(chunk)
      this.#size += chunk.length
      this.#host.reach('blob.writing')
    })
  }

  seal(expected?: Digest): Promise<SealedBlob> {
    return this.#step('store a blob', async () => {
      this.#host.reach('blob.written')
      const sealed = await this.#host.place(await this.#finish(expected))
      this.#end()
      return sealed
    })
  }

  keep(): Promise<void> {
    return this.#step('keep a part of a blob', async () => {
      if (this.#options.resume === undefined && this.#options.resumeAs === undefined) {
        throw new FeedmeshError('INTERNAL', 'only a staging with a digest or a name can be kept')
      }
      if (this.#size > 0) await (await this.#spill()).keep()
      this.#end()
    })
  }

  /** From then on nothing is kept in memory. */
  async openReader(): Promise<StagedReader | undefined> {
    const draft = await this.#step('follow a blob', () => this.#spill())
    try {
      return await draft.openReader?.()
    } catch (error) {
      throw asStorageError(error, 'cannot follow a blob')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#work.catch(() => undefined) // Whoever started the work has been told.
    if (this.#state === 'ended') return
    await this.#draft?.discard()
    this.#end()
  }

  /** Runs one step at a time; a step that fails ends the staging and removes its bytes. */
  async #step<T>(what: string, run: () => Promise<T>): Promise<T> {
    if (this.#state !== 'open') {
      throw new FeedmeshError('INTERNAL', `cannot ${what}: the staging is ${this.#state === 'busy' ? 'busy' : 'over'}`)
    }
    this.#state = 'busy'
    const work = this.#runStep(what, run)
    this.#work = work
    return work
  }

  async #runStep<T>(what: string, run: () => Promise<T>): Promise<T> {
    try {
      const result = await run()
      if (this.#state === 'busy') this.#state = 'open'
      return result
    } catch (error) {
      const reason = isSystemError(error) ? asStorageError(error, `cannot ${what}`) : error
      // The first error is the one to report; should the bytes stay, the next start deletes them.
      await this.#draft?.discard().catch(() => undefined)
      this.#end()
      throw reason
    }
  }

  #end(): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#head = []
    this.#host.release()
  }

  async #append(chunk: Uint8Array): Promise<void> {
    if (this.#draft === undefined && this.#size + chunk.length <= MAX_INLINE_BYTES) {
      this.#head.push(Buffer.from(chunk))
      this.#hashes.update(chunk)
      return
    }
    const draft = await this.#spill()
    // The disk writes while the processor hashes.
    const written = draft.append(chunk)
    this.#hashes.update(chunk)
    await written
  }

  async #spill(): Promise<Draft> {
    if (this.#draft !== undefined) return this.#draft
    const draft = await this.#host.createDraft()
    this.#draft = draft
    for (const piece of this.#head) await draft.append(piece)
    this.#head = []
    return draft
  }

  async *#content(): AsyncGenerator<Uint8Array> {
    if (this.#draft) yield* this.#draft.read()
    else yield* this.#head
  }

  async #finish(expected: Digest | undefined): Promise<FinishedContent> {
    const { hashes, chunkList } = this.#hashes.finish()
    const all: Record<string, string> = { ...hashes }
    for (const wanted of [this.#options.resume, expected]) {
      if (wanted === undefined) continue
      const algorithm = algorithmOf(wanted)
      all[algorithm] ??= await this.#hashAgain(algorithm)
      if (`${algorithm}:${all[algorithm]}` !== wanted) throw this.#mismatch(wanted, `${algorithm}:${all[algorithm]}`)
    }
    const inline = this.#size <= MAX_INLINE_BYTES ? await this.#collect() : undefined
    const digest = this.#options.resume ?? expected ?? (`sha256:${all.sha256}` as Digest)
    return { digest, size: this.#size, hashes: all, chunkList, inline, draft: this.#draft }
  }

  #mismatch(wanted: Digest, found: string): FeedmeshError {
    const resumed = this.offset > 0 ? `, of which ${this.offset} were kept from an earlier attempt` : ''
    return new FeedmeshError(
      'PEER_INVALID',
      `expected ${wanted}, got ${found} (${this.#size} bytes${resumed}); the bytes were thrown away, fetch all of it again`,
    )
  }

  async #hashAgain(algorithm: DigestAlgorithm): Promise<string> {
    const hasher = createHash(algorithm)
    for await (const piece of this.#content()) hasher.update(piece)
    return hasher.digest('hex')
  }

  async #collect(): Promise<Buffer> {
    const pieces: Buffer[] = []
    for await (const piece of this.#content()) pieces.push(Buffer.from(piece))
    return Buffer.concat(pieces)
  }
}

/** Errors of the file system carry a system call; an error injected by a test does not, and passes as it is. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && ('syscall' in error || 'errno' in error || 'code' in error)
}
