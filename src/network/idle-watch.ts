/** Ends what nothing moves on: checked once a limit, so at most twice as long passes. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

export class IdleWatch {
  readonly #idleMs: number
  readonly #setTimer: SetTimer
  readonly #onIdle: () => void
  #moved = false
  #cancel: (() => void) | undefined

  /** Starts at once; `onIdle` is called at most once. */
  constructor(options: { readonly idleMs: number; readonly setTimer: SetTimer; readonly onIdle: () => void }) {
    this.#idleMs = options.idleMs
    this.#setTimer = options.setTimer
    this.#onIdle = options.onIdle
    this.#arm()
  }

  moved(): void {
    this.#moved = true
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  #arm(): void {
    this.#cancel = this.#setTimer(() => {
      if (this.#moved) {
        this.#moved = false
        this.#arm()
      } else {
        this.#onIdle()
      }
    }, this.#idleMs)
  }
}
