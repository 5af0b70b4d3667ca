/** How far long work is: a bar that is redrawn on a terminal, plain lines now and then elsewhere. */

import type { Output } from './output.ts'
import { renderBytes } from './units.ts'

export interface Amount {
  readonly items: number
  readonly bytes: number
}

const BAR_WIDTH = 24
const LINE_EVERY_MS = 10_000

export class Progress implements Disposable {
  readonly #output: Output
  readonly #label: string
  readonly #now: () => number
  #lastLineAt: number
  #isDrawn = false

  constructor(output: Output, label: string, now: () => number = Date.now) {
    this.#output = output
    this.#label = label
    this.#now = now
    this.#lastLineAt = now()
  }

  update(done: Amount, planned: Amount): void {
    const counts = `${done.items} of ${planned.items} items, ${renderBytes(done.bytes)} of ${renderBytes(planned.bytes)}`
    this.#isDrawn = this.#output.redraw(`${this.#label} ${renderBar(done, planned)} ${counts}`) || this.#isDrawn
    if (this.#isDrawn || this.#now() - this.#lastLineAt < LINE_EVERY_MS) return
    this.#lastLineAt = this.#now()
    this.#output.note(`${this.#label}: ${counts}`)
  }

  /** Takes the bar away. */
  [Symbol.dispose](): void {
    if (this.#isDrawn) this.#output.redraw('')
  }
}

function renderBar(done: Amount, planned: Amount): string {
  const share = planned.bytes > 0 ? done.bytes / planned.bytes : planned.items > 0 ? done.items / planned.items : 0
  const full = Math.round(Math.min(1, share) * BAR_WIDTH)
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}] ${Math.floor(Math.min(1, share) * 100)}%`
}
