/** The real timers, behind the function type that tests replace, and what is made of either. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

export type { SetTimer }

/** Ms since some moment, which nobody can set. */
export function elapsedMs(): number {
  return performance.now()
}

/** Does not keep the process alive. */
export const setUnrefTimer: SetTimer = (run, delayMs) => {
  const timer = setTimeout(run, delayMs)
  timer.unref()
  return () => {
    clearTimeout(timer)
  }
}

export interface TimeLimit extends Disposable {
  /** Aborted with a TimeoutError when the time is over, or as the first of the other signals is. */
  readonly signal: AbortSignal
}

/** A limit for work that ends with the scope that holds it. */
export function startTimeLimit(setTimer: SetTimer, limitMs: number, ...others: readonly AbortSignal[]): TimeLimit {
  const controller = new AbortController()
  const cancel = setTimer(() => {
    controller.abort(new DOMException(`not done after ${limitMs} ms`, 'TimeoutError'))
  }, limitMs)
  return { signal: AbortSignal.any([controller.signal, ...others]), [Symbol.dispose]: cancel }
}
