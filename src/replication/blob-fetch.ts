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
import { MAX_INLINE_BYTES, type SealedBlob } from '../store/blobs.ts'
import { BlobAssemblies, type BlobAssembly } from './blob-assembly.ts'
import type { BlobFetcherOptions, BlobLie, BlobOutcome, BlobWork, WantedBlob } from './blob-fetcher.ts'
import { type BlobExchange, BlobStream } from './blob-stream.ts'

/** Streams to one peer before several requests of small blobs share one. */
const STREAMS = 4
/** Load of a stream: two requests of small blobs, or one of a large one. */
const STREAM_LOAD = 2
/** Small blobs that share one batch. */
const BATCH = 64
/** Once this many blobs could not be stored, the others are not fetched. */
const MAX_STORE_FAILURES = 3

interface Asked {
  readonly part: RequestedPart
  readonly assembly: BlobAssembly
  readonly offset: number
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
  readonly #assemblies: BlobAssemblies
  readonly #streams = new Set<BlobStream>()
  readonly #tasks = new Map<number, Task>()
  readonly #running = new Set<Promise<void>>()
  readonly #over = Promise.withResolvers<void>()
  #sealed: { readonly wanted: WantedBlob; readonly writes: SealedBlob['writes'] }[] = []
  /** Of blobs that have no outcome yet. */
  #lies: BlobLie[] = []
  #storeFailures = 0
  #cancelWake: (() => void) | undefined

  constructor(options: BlobFetcherOptions, plan: FetchPlan, wanted: ReadonlyMap<string, WantedBlob>, work: BlobWork) {
    this.#options = options
    this.#plan = plan
    this.#wanted = wanted
    this.#work = work
    this.#assemblies = new BlobAssemblies(options.blobs)
  }

  /** Until every wanted blob has its outcome, or the work is aborted. */
  async run(): Promise<void> {
    const { signal } = this.#work
    const stop = () => this.#over.resolve()
    signal.addEventListener('abort', stop, { once: true })
    try {
      if (signal.aborted) stop()
      this.act()
      await this.#over.promise
    } finally {
      signal.removeEventListener('abort', stop)
      this.#cancelWake?.()
      await Promise.all([...this.#streams].map((stream) => stream.abort()))
      await Promise.all(this.#running)
      await this.#store()
    }
  }

  /** Does what the plan says now. */
  act(): void {
    if (this.#work.signal.aborted) return
    const { send, cancel, failed, lies, wakeAtMs } = this.#plan.decide(this.#now())
    for (const { peer, digest, error } of lies) this.#lies.push({ peer, wanted: this.#getWanted(digest), error })
    for (const { digest, error } of failed) this.#tell({ wanted: this.#getWanted(digest), error })
    for (const id of cancel) void this.#tasks.get(id)?.stream.abort()
    for (const request of send) this.#start(request)
    this.#wakeAt(wakeAtMs)
    if (this.#plan.isOver) this.#over.resolve()
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
    const wanted = this.#wanted.get(digest)
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
    if (stream.load === 0 || this.#sealed.length >= BATCH) await this.#store()
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
    const taken: BlobAssembly[] = []
    try {
      const failure = await stream.perform(
        (exchange) => this.#ask(exchange, request, taken),
        async (exchange, asked) => {
          for (const one of asked) await this.#receive(exchange, task, one)
        },
      )
      this.#conclude(task, failure)
    } finally {
      for (const assembly of taken) await this.#assemblies.release(assembly)
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

  /** Makes room for the blobs and asks for them in one write. */
  async #ask(exchange: BlobExchange, { id, parts }: PlannedRequest, taken: BlobAssembly[]): Promise<Asked[]> {
    const asked: Asked[] = []
    for (const part of parts) {
      if (!this.#plan.expects(id, part.name)) continue
      try {
        const assembly = await this.#assemblies.take(this.#getWanted(part.digest), part.isAlone)
        taken.push(assembly)
        if (assembly.users === 1) this.#plan.noteKept(id, part.name, assembly.size)
        asked.push({ part, assembly, offset: assembly.size })
      } catch (error) {
        this.#failToStore(part.digest, asFeedmeshError(error))
      }
    }
    await exchange.sendAll(asked.map(({ assembly, offset }) => requestOf(assembly.wanted, offset)))
    return asked
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
    verifyLength(assembly.wanted, offset + reply.length)
    let position = offset
    for await (const piece of exchange.receiveBytes(reply.length)) {
      if (this.#plan.expects(id, part.name)) await this.#accept(task, asked, position, piece)
      position += piece.length
    }
    if (this.#plan.expects(id, part.name)) await this.#seal(id, asked)
    task.current = undefined
    this.act()
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

  async #seal(request: number, { part, assembly }: Asked): Promise<void> {
    const sealed = await assembly.seal()
    if (sealed === undefined) return verifyWhole(assembly)
    if (!(sealed instanceof FeedmeshError)) {
      this.#sealed.push({ wanted: assembly.wanted, writes: sealed.writes })
      this.#plan.done(request, part.name, this.#now())
      if (this.#sealed.length >= BATCH) await this.#store()
      return
    }
    this.#assemblies.forget(assembly)
    if (sealed.code === 'PEER_INVALID') this.#plan.wrong(request, part.name, sealed, this.#now())
    else this.#failToStore(part.digest, sealed)
  }

  /** This blob has failed; when it goes on like that, all do. */
  #failToStore(digest: string, error: FeedmeshError): void {
    const nowMs = this.#now()
    this.#plan.fail(digest, error, nowMs)
    if (error.code !== 'BUSY') this.#storeFailures += 1
    if (this.#storeFailures < MAX_STORE_FAILURES) return
    for (const other of this.#wanted.keys()) this.#plan.fail(other, error, nowMs)
  }

  /** What was sealed becomes known, and is told. */
  async #store(): Promise<void> {
    const batch = this.#sealed
    this.#sealed = []
    if (batch.length === 0) return
    const { records, reach } = this.#options
    try {
      await records.write(batch.flatMap((one) => one.writes))
      reach('adopt.blob')
      for (const { wanted } of batch) this.#tell({ wanted })
    } catch (error) {
      for (const { wanted } of batch) this.#tell({ wanted, error: asFeedmeshError(error) })
    }
  }

  /** Lies about a blob that nobody gave are the reason of its outcome; those about others are told besides. */
  #tell(outcome: BlobOutcome): void {
    const lies = this.#lies.filter(({ wanted }) => wanted === outcome.wanted)
    this.#lies = this.#lies.filter(({ wanted }) => wanted !== outcome.wanted)
    if (outcome.error === undefined) for (const lie of lies) this.#work.onLie?.(lie)
    this.#work.onOutcome(outcome)
  }
}

function requestOf({ feedId, unit, key, digest }: WantedBlob, offset: number): BlobRequest {
  return { kind: 'get', feedId: feedIdBytes(feedId), unit, key, digest, offset }
}

/** @throws PEER_INVALID */
function verifyLength({ digest, unit, size }: WantedBlob, length: number): void {
  if (length === size) return
  throw new FeedmeshError('PEER_INVALID', `${digest} of ${unit} has ${length} bytes at the peer instead of ${size}`)
}

/** Whoever gave the end of a blob has sealed it, or somebody else did. @throws INTERNAL */
function verifyWhole({ size, wanted }: BlobAssembly): void {
  if (size !== wanted.size) throw new FeedmeshError('INTERNAL', `${wanted.digest} came whole and has a gap at ${size}`)
}
