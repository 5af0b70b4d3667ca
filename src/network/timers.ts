/** The real timers, behind the function type that tests replace. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

/** Does not keep the process alive. */
export const setUnrefTimer: SetTimer = (run, delayMs) => {
  const timer = setTimeout(run, delayMs)
  timer.unref()
  return () => {
    clearTimeout(timer)
  }
}
