/**
 * Generations of rows and indexes that count no more, or not yet. A mark in the store names each before anything of it is
 * there, so that whatever ends the process leaves nothing that nobody knows of.
 */

import type { ReachFaultPoint } from '../fault-points.ts'
import { keys } from '../store/keys.ts'
import type { KeyRange, Records, Write } from '../store/records.ts'
import { clearRange } from './bounded-batches.ts'

export interface Leftover {
  readonly kind: 'state' | 'view'
  /** Local number of the feed. */
  readonly number: number
  readonly generation: number
}

const KINDS = ['state', 'view'] as const
const EMPTY = new Uint8Array(0)

function keyOf({ kind, number, generation }: Leftover): Buffer {
  return keys.leftover(number, kind === 'state' ? 0 : 1, generation)
}

function nameOf(leftover: Leftover): string {
  return keyOf(leftover).toString('hex')
}

function rangesOf({ kind, number, generation }: Leftover): KeyRange[] {
  return kind === 'state'
    ? [keys.rows(number, generation), keys.nodes(number, generation)]
    : [keys.viewRows(number, generation), keys.viewNodes(number, generation), keys.viewUnits(number, generation)]
}

export function leftoverMark(leftover: Leftover): Write {
  return { type: 'put', key: keyOf(leftover), value: EMPTY }
}

export function leftoverUnmark(leftover: Leftover): Write {
  return { type: 'del', key: keyOf(leftover) }
}

export async function readLeftovers(records: Records): Promise<Leftover[]> {
  const found: Leftover[] = []
  for await (const key of records.scanKeys(keys.leftovers())) {
    const bytes = Buffer.from(key)
    const kind = KINDS[bytes.readUInt8(5)] ?? 'view'
    found.push({ kind, number: bytes.readUInt32BE(1), generation: bytes.readUInt32BE(6) })
  }
  return found
}

export interface LeftoversOptions {
  readonly records: Records
  readonly reach: ReachFaultPoint
  /** Unix time, ms. */
  readonly now: () => number
}

export class Leftovers {
  readonly #options: LeftoversOptions
  /**
   * When those that somebody may still read are due, Unix ms; all others that are marked are due at once. An entry is made
   * before the mark is stored, and stays when the generation comes to count: a sweep that saw the mark before must not touch it.
   */
  readonly #dueAtMs = new Map<string, number>()
  #clearing: Promise<void> = Promise.resolve()

  constructor(options: LeftoversOptions) {
    this.#options = options
  }

  /** `clear` spares it until then. */
  keep(leftover: Leftover, untilMs: number): void {
    this.#dueAtMs.set(nameOf(leftover), untilMs)
  }

  /** `clear` no longer spares it. */
  release(leftover: Leftover): void {
    this.#dueAtMs.delete(nameOf(leftover))
  }

  /** Removes what is due. `onClear` is told of each before anything of it goes. */
  clear(onClear: (leftover: Leftover) => void, signal?: AbortSignal): Promise<void> {
    const run = this.#clearing.then(() => this.#clearDue(onClear, signal))
    this.#clearing = run.catch(() => {})
    return run
  }

  async #clearDue(onClear: (leftover: Leftover) => void, signal: AbortSignal | undefined): Promise<void> {
    const { records, reach, now } = this.#options
    for (const leftover of await readLeftovers(records)) {
      if ((this.#dueAtMs.get(nameOf(leftover)) ?? 0) > now()) continue
      onClear(leftover)
      reach('leftover.clearing')
      for (const range of rangesOf(leftover)) await clearRange(records, range, signal)
      reach('leftover.cleared')
      await records.write([leftoverUnmark(leftover)])
      this.release(leftover)
    }
  }
}
