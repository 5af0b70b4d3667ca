/**
 * One fetch of blobs: does on streams what a plan says, and tells the plan how it went. Bytes are hashed while they are
 * written; nothing unverified becomes known to the store.
 */

import type { BlobRequest } from '../../protocols/mesh/blob/messages.ts'
import { parseError } from '../../protocols/mesh/exchange.ts'
import { feedIdBytes } from '../catalog/charter.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { FetchPlan } from '../fetching/fetch-plan.ts'
import type { PlannedRequest, RequestedPart } from '../fetching/requests.ts'
import { MAX_INLINE_BYTES } from '../store/blobs.ts'
import { type Assemblies, BlobAssemblies, type PartAssembly } from './blob-assembly.ts'
import { type ChunkedWanted, ChunkWindow } from './blob-chunk-window.ts'
import type { BlobFetcherOptions, BlobOutcome, BlobWork, WantedBlob } from './blob-fetcher.ts'
import { BlobFollowers } from './blob-followers.ts'
import type { BlobNeighbours } from './blob-neighbours.ts'
import { BlobOutcomes } from './blob-outcomes.ts'
import { type BlobExchange, BlobStream } from './blob-stream.ts'
import type { BlobFollower } from './growing-blob.ts'

/** Streams to one peer before several requests of small blobs share one. */
const STREAMS = 4
/** Load of a stream: two requests of small blobs, or one of a large one. */
const STREAM_LOAD = 2
/** Once this many blobs could not be stored, the others are not fetched. */
const MAX_STORE_FAILURES = 3

interface Asked {
  readonly part: RequestedPart
  readonly assembly: PartAssembly
  readonly home: Assemblies
  /** Where in the part the bytes go on. */
  readonly offset: number
}

/** What is to be fetched, and with whose help. */
export interface BlobFetchPort {
  readonly options: BlobFetcherOptions
  readonly plan: FetchPlan
  readonly wanted: ReadonlyMap<string, WantedBlob>
  /** Those of `wanted` that come by chunks. */
  readonly chunked: readonly ChunkedWanted[]
  readonly neighbours: BlobNeighbours | undefined
}

interface Task {
  readonly request: PlannedRequest
  readonly stream: BlobStream
  /** The part that is being received. */
  current: RequestedPart | undefined
}

export class BlobFetch {
  readonly #options: BlobFetcherOptions
  readonly #plan: FetchPlan
  readonly #work: BlobWork
  readonly #wanted: ReadonlyMap<string, WantedBlob>
  /** Chunk lists of wanted blobs, which nobody is told of. */
  readonly #lists = new Map<string, WantedBlob>()
  readonly #neighbours: BlobNeighbours | undefined
  readonly #followers = new BlobFollowers()
  readonly #assemblies: BlobAssemblies
  readonly #window: ChunkWindow
  readonly #outcomes: BlobOutcomes
  readonly #streams = new Set<BlobStream>()
  readonly #tasks = new Map<number, Task>()
  readonly #running = new Set<Promise<void>>()
  readonly #over = Promise.withResolvers<void>()
  #storeFailures = 0
  #cancelWake: (() => void) | undefined

  constructor({ options, plan, wanted, chunked, neighbours }: BlobFetchPort, work: BlobWork) {
    this.#options = options
    this.#plan = plan
    this.#wanted = wanted
    this.#work = work
    this.#neighbours = neighbours
    if (work.follower !== undefined) for (const digest of wanted.keys()) this.#followers.add(digest, work.follower)
    this.#assemblies = new BlobAssemblies(options.blobs, this.#followers)
    this.#window = this.#openWindow()
    this.#outcomes = new BlobOutcomes(options, work, {
      isList: (digest) => this.#lists.has(digest),
      onOutcome: (outcome) => this.#onOutcome(outcome),
    })
    const byChunks = new Set(chunked.map(({ digest }) => digest as string))
    const isWaited = work.isWaited === true
    const whole = [...wanted.values()].filter(({ digest }) => !byChunks.has(digest))
    plan.want(whole.map(({ digest, size }) => ({ digest, size, isWaited })))
    this.#window.add(chunked, isWaited)
  }

  #openWindow(): ChunkWindow {
    return new ChunkWindow({
      blobs: this.#options.blobs,
      signal: this.#work.signal,
      plan: (blob) => this.#plan.want([blob]),
      fetchList: (list) => {
        this.#lists.set(list.digest, list)
        this.#plan.want([{ digest: list.digest, size: list.size, isDirect: true }])
      },
      onVerified: (wanted, indexes) => {
        this.#neighbours?.tellChunks(wanted, indexes)
        this.#followers.find(wanted.digest)?.grown()
      },
      store: async (wanted, sealed) => {
        this.#outcomes.addSealed(wanted, sealed)
        await this.#outcomes.store()
      },
      fail: (wanted, error) => this.#failToStore(wanted.digest, error),
      act: () => this.act(),
      onFault: (error) => this.#over.reject(error),
      follow: async ({ digest }) => await this.#followers.find(digest)?.begin('by chunks'),
    })
  }

  /** Until every wanted blob has its outcome, or the work is aborted. */
  async run(): Promise<void> {
    const { signal } = this.#work
    const stop = () => this.#over.resolve()
    signal.addEventListener('abort', stop, { once: true })
    try {
      this.#neighbours?.start(() => this.act())
      if (signal.aborted) stop()
      this.act()
      await this.#over.promise
    } finally {
      signal.removeEventListener('abort', stop)
      this.#cancelWake?.()
      this.#neighbours?.[Symbol.dispose]()
      await Promise.all([...this.#streams].map((stream) => stream.abort()))
      await Promise.all(this.#running)
      await this.#window.stop()
      await this.#outcomes.store()
    }
  }

  /** A client has come to wait for the blob, and may read along. @throws as `StagedBlob.openReader` */
  async hasten(digest: string, follower: BlobFollower | undefined): Promise<void> {
    this.#window.hasten(digest)
    this.#plan.hasten(digest)
    this.act()
    if (follower === undefined) return
    this.#followers.add(digest, follower)
    if (this.#window.find(digest) !== undefined) await this.#followers.find(digest)?.begin('by chunks')
    else await this.#assemblies.follow(digest)
  }

  /** Does what the plan says now. */
  act(): void {
    if (this.#work.signal.aborted) return
    const { send, cancel, failed, lies, wakeAtMs } = this.#plan.decide(this.#now())
    for (const { peer, digest, error } of lies) this.#outcomes.addLie({ peer, wanted: this.#getWanted(digest), error })
    for (const { digest, error } of failed) this.#fail(digest, error)
    for (const id of cancel) void this.#tasks.get(id)?.stream.abort()
    for (const request of send) this.#start(request)
    this.#wakeAt(wakeAtMs)
    if (this.#plan.isOver && this.#window.isIdle) this.#over.resolve()
  }

  #fail(digest: string, error: FeedmeshError): void {
    this.#outcomes.tell({ wanted: this.#getWanted(digest), error })
    this.#window.leave(digest)
  }

  #onOutcome(outcome: BlobOutcome): void {
    const { wanted, error } = outcome
    if (error === undefined) this.#neighbours?.tellWhole(wanted)
    if (this.#lists.has(wanted.digest)) this.#window.onList(wanted.digest, error)
    else this.#work.onOutcome(outcome)
  }

  #now(): number {
    return this.#options.progress?.now() ?? 0
  }

  #wakeAt(ms: number | undefined): void {
    this.#cancelWake?.()
    this.#cancelWake = undefined
    if (ms === undefined || this.#plan.isOver) return
    this.#cancelWake = this.#options.progress?.setTimer(() => this.act(), Math.max(1, ms - this.#now()))
  }

  #getWanted(digest: string): WantedBlob {
    const wanted = this.#wanted.get(digest) ?? this.#lists.get(digest)
    if (wanted === undefined) throw new FeedmeshError('INTERNAL', `${digest} is planned and not wanted`)
    return wanted
  }

  #start(request: PlannedRequest): void {
    const load = this.#isPack(request) ? 1 : STREAM_LOAD
    const stream = this.#findStream(request.peer, load)
    const task: Task = { request, stream, current: undefined }
    stream.load += load
    this.#tasks.set(request.id, task)
    const running = this.#follow(task, load)
    this.#running.add(running)
    running.then(
      () => this.#running.delete(running),
      (error: unknown) => this.#over.reject(error),
    )
  }

  async #follow(task: Task, load: number): Promise<void> {
    const { request, stream } = task
    try {
      await this.#perform(task)
    } finally {
      stream.load -= load
      this.#tasks.delete(request.id)
    }
    this.act()
    if (stream.load === 0 || stream.isBroken) await this.#close(stream)
    if (stream.load === 0 || this.#outcomes.isFull) await this.#outcomes.store()
  }

  #isPack({ parts }: PlannedRequest): boolean {
    return parts.every(({ digest }) => this.#getWanted(digest).size <= MAX_INLINE_BYTES)
  }

  #findStream(peer: string, load: number): BlobStream {
    const known = [...this.#streams].filter((stream) => stream.peer === peer && !stream.isBroken)
    const idle = known.find((stream) => stream.load === 0)
    if (idle !== undefined) return idle
    const shared = known.length < STREAMS ? undefined : known.find((stream) => stream.load + load <= STREAM_LOAD)
    if (shared !== undefined) return shared
    const { host, progress } = this.#options
    const stream = new BlobStream(peer, { host, progress, signal: this.#work.signal })
    this.#streams.add(stream)
    return stream
  }

  async #close(stream: BlobStream): Promise<void> {
    this.#streams.delete(stream)
    try {
      await stream.end()
    } catch (error) {
      // All that was asked on it has its outcome.
      if (!(error instanceof FeedmeshError)) throw error
    }
  }

  async #perform(task: Task): Promise<void> {
    const { request, stream } = task
    const taken: Asked[] = []
    try {
      const failure = await stream.perform(
        (exchange) => this.#ask(exchange, request, taken),
        async (exchange, asked) => {
          for (const one of asked) await this.#receive(exchange, task, one)
        },
      )
      this.#conclude(task, failure)
    } finally {
      for (const { assembly, home } of taken) await home.release(assembly)
    }
  }

  #conclude({ request, current }: Task, failure: FeedmeshError | 'given up' | undefined): void {
    const nowMs = this.#now()
    // Nothing is left of what went well but what another request has completed meanwhile.
    if (failure === undefined || failure === 'given up') this.#plan.dropped(request.id, nowMs)
    else if (failure.code === 'PEER_INVALID' && current !== undefined)
      this.#plan.lied(request.id, current.name, failure, nowMs)
    else this.#plan.broke(request.id, failure, nowMs)
  }

  /** Makes room for the parts and asks for them in one write; what is `taken` has to be released. */
  async #ask(exchange: BlobExchange, { id, parts }: PlannedRequest, taken: Asked[]): Promise<Asked[]> {
    for (const part of parts) {
      if (!this.#plan.expects(id, part.name)) continue
      try {
        const home: Assemblies = this.#window.find(part.digest) ?? this.#assemblies
        const assembly = await home.take(this.#getWanted(part.digest), part)
        const asked = { part, assembly, home, offset: assembly.size }
        taken.push(asked)
        if (assembly.users === 1) this.#plan.noteKept(id, part.name, asked.offset)
      } catch (error) {
        this.#failToStore(part.digest, asFeedmeshError(error))
      }
    }
    await exchange.sendAll(taken.map((one) => this.#requestOf(one)))
    return taken
  }

  #requestOf({ part, assembly, home, offset }: Asked): BlobRequest {
    const { feedId, unit, key, digest } = assembly.wanted
    const from = part.start + offset
    const length = home === this.#assemblies ? null : part.to - from
    return { kind: 'get', feedId: feedIdBytes(feedId), unit, key, digest, offset: from, length }
  }

  /** @throws why the stream is of no use any more */
  async #receive(exchange: BlobExchange, task: Task, asked: Asked): Promise<void> {
    const { part, assembly, offset } = asked
    const { id } = task.request
    task.current = part
    exchange.expect()
    const reply = await exchange.receive()
    if (reply.kind === 'error') {
      this.#plan.refused(id, part.name, parseError(reply), this.#now())
      this.act()
      return
    }
    await this.#verifyLength(task, asked, reply.length)
    let position = offset
    const pieces = exchange.receiveBytes(reply.length)
    const traffic = { peer: task.request.peer, feedId: assembly.wanted.feedId, ...this.#work }
    for await (const piece of this.#options.limits?.receive(pieces, traffic) ?? pieces) {
      if (this.#plan.expects(id, part.name)) await this.#accept(task, asked, position, piece)
      position += piece.length
    }
    if (this.#plan.expects(id, part.name)) await this.#finish(id, asked)
    task.current = undefined
    this.act()
  }

  /** @throws PEER_INVALID */
  async #verifyLength({ request, stream }: Task, { part, assembly, offset }: Asked, length: number): Promise<void> {
    const expected = part.to - part.start - offset
    if (length === expected) return
    const { digest, unit } = assembly.wanted
    const what = this.#lists.has(digest) ? 'the chunk list ' : ''
    const message = `${what}${digest} of ${unit} has ${length + offset} bytes at the peer instead of ${expected + offset}`
    const error = new FeedmeshError('PEER_INVALID', message)
    if (this.#lists.has(digest)) {
      // Whoever signed the row may have named a list of another length: no reason to blame who has it.
      this.#plan.refused(request.id, part.name, error, this.#now())
      await stream.abort()
    }
    throw error
  }

  async #accept(
    { request, stream }: Task,
    { part, assembly }: Asked,
    position: number,
    piece: Uint8Array,
  ): Promise<void> {
    const kept = await assembly.accept(position, piece)
    if (kept instanceof FeedmeshError) {
      this.#failToStore(part.digest, kept)
      // Not the peer's fault: the rest of the stream has nowhere to go.
      await stream.abort()
      throw kept
    }
    this.#plan.arrived(request.id, part.name, piece.length, kept)
  }

  async #finish(request: number, { part, assembly, home }: Asked): Promise<void> {
    const finished = await assembly.finish()
    if (finished === undefined) return verifyWhole(assembly, part)
    if (finished instanceof FeedmeshError) {
      home.forget(assembly)
      if (finished.code === 'PEER_INVALID') this.#plan.wrong(request, part.name, finished, this.#now())
      else this.#failToStore(part.digest, finished)
      return
    }
    const isLast = this.#plan.done(request, part.name, this.#now())
    if (finished === 'verified') {
      const blob = this.#window.find(part.digest)
      if (blob !== undefined) this.#window.onChunk(blob, part.start, isLast)
      return
    }
    this.#outcomes.addSealed(assembly.wanted, finished)
    if (this.#outcomes.isFull || this.#lists.has(part.digest)) await this.#outcomes.store()
  }

  /** This blob has failed; when it goes on like that, all do. */
  #failToStore(digest: string, error: FeedmeshError): void {
    const nowMs = this.#now()
    if (this.#plan.has(digest)) this.#plan.fail(digest, error, nowMs)
    else this.#fail(digest, error)
    if (error.code !== 'BUSY') this.#storeFailures += 1
    if (this.#storeFailures < MAX_STORE_FAILURES) return
    for (const other of this.#wanted.keys()) this.#plan.fail(other, error, nowMs)
    for (const other of this.#window.drop()) this.#fail(other.digest, error)
  }
}

/** Whoever gave the end of a part has finished it, or somebody else did. @throws INTERNAL */
function verifyWhole({ size }: PartAssembly, { name, start, to }: RequestedPart): void {
  if (size !== to - start) throw new FeedmeshError('INTERNAL', `${name} came whole and has a gap at ${size}`)
}
