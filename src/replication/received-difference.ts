/** A difference as it arrives: held in memory while it is small, put into a shadow of the feed from there on. */

import type { DifferenceSink, ReceivedRow } from '../../protocols/mesh/sync/asker.ts'
import { encodeRow, type Row } from '../catalog/row.ts'
import type { Shadow } from '../ledger/shadow.ts'

/** Rows held at most … */
export const MAX_HELD_ROWS = 10_000
/** … and their encoded bytes. */
const MAX_HELD_BYTES = 16 * 1024 * 1024

/** Removed when there is no row. */
interface Held {
  readonly place: Buffer
  readonly row: Row | undefined
  readonly bytes: number
}

export class ReceivedDifference implements DifferenceSink {
  readonly #openShadow: () => Promise<Shadow>
  readonly #held = new Map<string, Held>()
  #heldBytes = 0
  #shadow: Shadow | undefined
  /** Several streams deliver at once: one change of form at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  /** `openShadow` gives one that holds what is here of the feed; or `shadow` is it, from the beginning. */
  constructor(openShadow: () => Promise<Shadow>, shadow?: Shadow) {
    this.#openShadow = openShadow
    this.#shadow = shadow
  }

  /** Where everything is, once it was too much to be held. */
  get shadow(): Shadow | undefined {
    return this.#shadow
  }

  get puts(): Row[] {
    return [...this.#held.values()].flatMap(({ row }) => row ?? [])
  }

  /** Places of which nothing is left. */
  get drops(): Buffer[] {
    return [...this.#held.values()].flatMap(({ row, place }) => (row === undefined ? [place] : []))
  }

  put(rows: readonly ReceivedRow[]): Promise<void> {
    return this.#take(
      rows.map(({ place, row, encoded }) => ({ place, row, bytes: encoded.length })),
      (shadow) => shadow.put(rows.map(({ encoded }) => encoded)),
    )
  }

  drop(places: readonly Buffer[]): Promise<void> {
    return this.#take(
      places.map((place) => ({ place, row: undefined, bytes: 0 })),
      (shadow) => shadow.drop(places),
    )
  }

  #take(changes: readonly Held[], toShadow: (shadow: Shadow) => Promise<void>): Promise<void> {
    const done = this.#turn.then(() => this.#takeNow(changes, toShadow))
    this.#turn = done.catch(() => {})
    return done
  }

  async #takeNow(changes: readonly Held[], toShadow: (shadow: Shadow) => Promise<void>): Promise<void> {
    if (this.#shadow !== undefined) return await toShadow(this.#shadow)
    for (const change of changes) this.#hold(change)
    if (this.#held.size > MAX_HELD_ROWS || this.#heldBytes > MAX_HELD_BYTES) await this.#spill()
  }

  #hold(change: Held): void {
    const name = change.place.toString('hex')
    this.#heldBytes += change.bytes - (this.#held.get(name)?.bytes ?? 0)
    this.#held.set(name, change)
  }

  async #spill(): Promise<void> {
    const shadow = await this.#openShadow()
    this.#shadow = shadow
    await shadow.drop(this.drops)
    await shadow.put(this.puts.map(encodeRow))
    this.#held.clear()
    this.#heldBytes = 0
  }
}
