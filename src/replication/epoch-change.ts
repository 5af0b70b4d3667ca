/** What a new epoch or generation of a feed undoes of what is here, found before it is adopted. */

import { encodeRow, type Row, rowDigest } from '../catalog/row.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { StoredRow } from '../ledger/loaded-unit.ts'
import type { Registry } from '../ledger/registry.ts'
import { MAX_TOLD_ROWS, type ReturnedRow } from '../ledger/returned-rows.ts'
import type { Head } from './heads.ts'
import type { RowNews } from './state-fetch.ts'

/** Whether this node has seen states of the feed that the new epoch does not build on. */
function sawLater(known: FeedState, head: Head): boolean {
  const [have, next] = [known.manifest?.value, head.newer?.manifest.value]
  if (have === undefined || next === undefined) return false
  if (known.charter.value.generation === head.charter.value.generation)
    return next.epoch !== have.epoch + 1 || next.previousEpochSeq < have.seq
  const good = head.newCharters.findLast((charter) => charter.value.lastGood !== null)?.value.lastGood
  return (
    good === undefined || good === null || have.epoch > good.epoch || (have.epoch === good.epoch && have.seq > good.seq)
  )
}

/** Collects over all groups of news of one state. */
export class EpochChange {
  readonly #registry: Registry
  readonly #known: FeedState
  readonly #epoch: number
  readonly #nowMs: number
  readonly #isLosing: boolean
  readonly rows: ReturnedRow[] = []
  #told = 0

  private constructor(registry: Registry, change: { known: FeedState; head: Head; nowMs: number }) {
    const { known, head, nowMs } = change
    this.#registry = registry
    this.#known = known
    this.#epoch = head.newer?.manifest.value.epoch ?? 0
    this.#nowMs = nowMs
    const fork = registry.forks.find(known.feedId)
    this.#isLosing = sawLater(known, head) || fork?.epoch === known.charter.value.epoch
  }

  /** undefined where the state is of the epoch that is here, or the first one here. */
  static find(registry: Registry, head: Head, nowMs: number): EpochChange | undefined {
    const { known, newer } = head
    if (known?.manifest === undefined || newer === undefined) return undefined
    const isSame =
      known.manifest.value.epoch === newer.manifest.value.epoch &&
      known.charter.value.generation === head.charter.value.generation
    return isSame ? undefined : new EpochChange(registry, { known, head, nowMs })
  }

  async add({ puts, drops }: RowNews): Promise<void> {
    const clock = this.#known.manifest?.value.clock ?? 0n
    const old = puts.filter((row) => row.stamp <= clock)
    for (const row of old) await this.#addOld(row)
    if (this.#isLosing) for (const { unit, key } of drops) this.#tell({ unit, key, kind: 'lost', digest: '' })
  }

  async #addOld(row: Row): Promise<void> {
    const { unit, key } = row
    const digest = rowDigest(encodeRow(row)).toString('hex')
    const here = await this.#registry.readSource(this.#known.feedId, unit)
    const isHere = here.some((stored: StoredRow) => stored.key === key)
    if (isHere) this.#tell({ unit, key, kind: 'went back', digest })
    else this.rows.push(this.#entry({ unit, key, kind: 'came back', digest }))
  }

  #tell(row: Pick<ReturnedRow, 'unit' | 'key' | 'kind' | 'digest'>): void {
    if (this.#told >= MAX_TOLD_ROWS) return
    this.#told += 1
    this.rows.push(this.#entry(row))
  }

  #entry(row: Pick<ReturnedRow, 'unit' | 'key' | 'kind' | 'digest'>): ReturnedRow {
    return { ...row, feedId: this.#known.feedId, epoch: this.#epoch, at: this.#nowMs, isAnswered: false }
  }
}
