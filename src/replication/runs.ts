/**
 * The history of runs: one record a run, one an item. A run is written once it has something to fetch, and when it ends if
 * that is worth telling: polls that found nothing leave no trace, nor does the same failure again. A run that the process
 * did not survive is closed as failed at the next start.
 */

import { fitMessage, MAX_MESSAGE_BYTES } from '../../protocols/mesh/exchange.ts'
import { decodeCbor, encodeCbor, nullable, record, type Shaped, text, uint, word } from '../catalog/cbor.ts'
import { keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'

export const RUN_TRIGGERS = ['manual', 'schedule', 'connect', 'change', 'link'] as const
export type RunTrigger = (typeof RUN_TRIGGERS)[number]

const count = record({ items: [1, uint()], bytes: [2, uint()] })
const runShape = record({
  replication: [1, text(32)],
  peer: [2, text(64)],
  trigger: [3, word(RUN_TRIGGERS)],
  state: [4, word(['running', 'succeeded', 'failed', 'partial'])],
  startedAt: [5, uint()],
  endedAt: [6, nullable(uint())],
  fetched: [7, count],
  sent: [8, count],
  deleted: [9, uint()],
  planned: [10, count],
  message: [11, text(MAX_MESSAGE_BYTES)],
  failed: [12, uint()],
  /** Code of the error that ended a failed run; empty otherwise. */
  errorCode: [13, text(64)],
})
export type RunRecord = Shaped<typeof runShape>

const itemShape = record({
  item: [1, text(2200)],
  action: [2, word(['fetched', 'deleted', 'sent', 'failed'])],
  bytes: [3, uint()],
  code: [4, text(64)],
  message: [5, text(MAX_MESSAGE_BYTES)],
})
export type RunItemRecord = Shaped<typeof itemShape>

/** Runs kept; older ones are removed with their items. */
const MAX_RUNS = 1000
/** Items kept of one run, failed ones and others each; the rest is counted. */
const MAX_ITEMS = 10_000

const NOTHING = { items: 0, bytes: 0 } as const

export type Run = RunRecord & { readonly id: number }

function createRun(id: number, begin: Pick<RunRecord, 'replication' | 'peer' | 'trigger' | 'startedAt'>): Run {
  const nothing = { fetched: NOTHING, sent: NOTHING, deleted: 0, planned: NOTHING, failed: 0 }
  return { id, ...begin, ...nothing, state: 'running', endedAt: null, message: '', errorCode: '' }
}

async function keepNothing(): Promise<void> {}

export class RunLog {
  readonly #records: Records
  readonly #now: () => number
  #next: number
  readonly #recent = new Map<number, Run>()

  private constructor(records: Records, now: () => number, next: number) {
    this.#records = records
    this.#now = now
    this.#next = next
  }

  static async open(records: Records, now: () => number): Promise<RunLog> {
    const log = new RunLog(records, now, 1)
    for await (const [key, value] of records.scan(keys.runs())) {
      const id = Number(Buffer.from(key).readBigUInt64BE(1))
      log.#recent.set(id, { ...decodeCbor(runShape, value, 'stored run'), id })
      log.#next = id + 1
    }
    for (const run of log.#recent.values()) {
      if (run.state === 'running')
        await log.#store(
          {
            ...run,
            state: 'failed',
            endedAt: now(),
            message: 'the node stopped during this run; what had arrived was kept',
          },
          [],
        )
    }
    return log
  }

  /** Newest first. */
  list(limit: number): Run[] {
    return [...this.#recent.values()].reverse().slice(0, limit)
  }

  find(id: number): Run | undefined {
    return this.#recent.get(id)
  }

  lastOf(replication: string): Run | undefined {
    return this.list(MAX_RUNS).find((run) => run.replication === replication)
  }

  async items(id: number): Promise<RunItemRecord[]> {
    const items: RunItemRecord[] = []
    for await (const [, value] of this.#records.scan(keys.runItems(id)))
      items.push(decodeCbor(itemShape, value, 'stored run item'))
    return items
  }

  start(replication: string, peer: string, trigger: RunTrigger): ActiveRun {
    const id = this.#next
    this.#next += 1
    const run = createRun(id, { replication, peer, trigger, startedAt: this.#now() })
    this.#recent.set(id, run)
    return new ActiveRun(run, {
      show: (next) => this.#recent.set(id, next),
      store: async (next, writes) => this.#store(next, [...writes, ...(await this.#pruning())]),
      end: (next, writes) => this.#end(next, writes),
      now: this.#now,
    })
  }

  /** A run that is never in the history: for finding out what one would do. */
  rehearse(replication: string, peer: string): ActiveRun {
    return new ActiveRun(createRun(0, { replication, peer, trigger: 'manual', startedAt: this.#now() }), {
      show: () => {},
      store: keepNothing,
      end: keepNothing,
      now: this.#now,
    })
  }

  async #end(run: Run, writes: readonly Write[]): Promise<void> {
    if (!this.#isWorthTelling(run)) {
      this.#recent.delete(run.id)
      return
    }
    // It is over also where the disk refuses to take note: the next start closes what is stored of it.
    this.#recent.set(run.id, run)
    await this.#store(run, writes)
  }

  #isWorthTelling(run: Run): boolean {
    if (run.trigger === 'manual' || run.trigger === 'link' || run.planned.items > 0 || run.deleted > 0) return true
    if (run.state === 'succeeded') return false
    const before = this.list(MAX_RUNS).find(
      (other) => other.id !== run.id && other.replication === run.replication && other.peer === run.peer,
    )
    return before?.state !== run.state || before.message !== run.message
  }

  async #pruning(): Promise<Write[]> {
    const old = [...this.#recent.keys()].slice(0, Math.max(0, this.#recent.size - MAX_RUNS + 1))
    const writes: Write[] = []
    for (const id of old) {
      writes.push({ type: 'del', key: keys.run(id) })
      for await (const key of this.#records.scanKeys(keys.runItems(id))) writes.push({ type: 'del', key })
      this.#recent.delete(id)
    }
    return writes
  }

  async #store(run: Run, writes: readonly Write[]): Promise<void> {
    await this.#records.write([{ type: 'put', key: keys.run(run.id), value: encodeCbor(runShape, run) }, ...writes])
    this.#recent.set(run.id, run)
  }
}

interface RunPort {
  /** What is known of it so far, not yet stored. */
  show(run: Run): void
  store(run: Run, writes: readonly Write[]): Promise<void>
  end(run: Run, writes: readonly Write[]): Promise<void>
  now(): number
}

export type RunProgressListener = (run: Run) => void

/** One run while it goes on. */
export class ActiveRun {
  #run: Run
  readonly #port: RunPort
  readonly #items: RunItemRecord[] = []
  readonly #failures: RunItemRecord[] = []
  #listener: RunProgressListener = () => {}

  constructor(run: Run, port: RunPort) {
    this.#run = run
    this.#port = port
  }

  get run(): Run {
    return this.#run
  }

  get failures(): readonly RunItemRecord[] {
    return this.#failures
  }

  onProgress(listener: RunProgressListener): void {
    this.#listener = listener
  }

  /** It begins again: what has arrived meanwhile is found to be here. */
  restart(): void {
    this.#items.length = 0
    const { fetched } = this.#run
    this.#update({ planned: NOTHING, fetched: { items: 0, bytes: fetched.bytes } })
  }

  /** What the run sets out to fetch, beside what was planned before. */
  plan(items: number, bytes: number): void {
    const { planned } = this.#run
    this.#update({ planned: { items: planned.items + items, bytes: planned.bytes + bytes } })
  }

  /** From here on it shows in the history, also if the process dies. */
  async persist(): Promise<void> {
    await this.#port.store(this.#run, [])
  }

  fetched(item: string, bytes: number): void {
    const { fetched } = this.#run
    this.#add({ item, action: 'fetched', bytes, code: '', message: '' })
    this.#update({ fetched: { items: fetched.items + 1, bytes: fetched.bytes + bytes } })
  }

  sent(items: number, bytes: number): void {
    this.#update({ sent: { items, bytes } })
  }

  deleted(item: string): void {
    this.#add({ item, action: 'deleted', bytes: 0, code: '', message: '' })
    this.#update({ deleted: this.#run.deleted + 1 })
  }

  /** Items that are not named. */
  deletedMore(items: number): void {
    if (items > 0) this.#update({ deleted: this.#run.deleted + items })
  }

  failed(item: string, error: { readonly code: string; readonly message: string }): void {
    const message = fitMessage(error.message, MAX_MESSAGE_BYTES)
    if (this.#failures.length < MAX_ITEMS)
      this.#failures.push({ item, action: 'failed', bytes: 0, code: error.code, message })
    this.#update({ failed: this.#run.failed + 1 })
  }

  /** A peer sent wrong bytes of an item; what becomes of the item is told by itself. */
  blamed(peer: string, item: string, error: { readonly code: string; readonly message: string }): void {
    const message = fitMessage(`${peer}: ${error.message}`, MAX_MESSAGE_BYTES)
    if (this.#failures.length < MAX_ITEMS)
      this.#failures.push({ item, action: 'failed', bytes: 0, code: error.code, message })
  }

  #add(item: RunItemRecord): void {
    if (this.#items.length < MAX_ITEMS) this.#items.push(item)
  }

  #update(change: Partial<RunRecord>): void {
    this.#run = { ...this.#run, ...change }
    this.#port.show(this.#run)
    this.#listener(this.#run)
  }

  /** `succeeded` is refused while an item is missing. */
  async end(
    state: 'succeeded' | 'failed' | 'partial',
    why: { readonly code: string; readonly message: string },
  ): Promise<Run> {
    const honest = state === 'succeeded' && this.#run.failed > 0 ? 'partial' : state
    const message = fitMessage(why.message, MAX_MESSAGE_BYTES)
    this.#update({ state: honest, endedAt: this.#port.now(), errorCode: why.code, message })
    const items = [...this.#failures, ...this.#items]
    const writes = items.map(
      (item, index): Write => ({
        type: 'put',
        key: keys.runItem(this.#run.id, index),
        value: encodeCbor(itemShape, item),
      }),
    )
    await this.#port.end(this.#run, writes)
    return this.#run
  }
}
