/** How much of what a replication may do, and when: as operators choose it, and as it is stored. */

import { FeedmeshError } from '../errors.ts'
import type { ReplicationLimits } from '../http/replication-settings.ts'
import type { Replication } from '../replication/book.ts'
import { parseTimeWindow } from '../replication/time-window.ts'

type Chosen = Partial<ReplicationLimits>
type Stored = Pick<Replication, 'quotaBytes' | 'pins' | 'maxRate' | 'window'>

export const NO_LIMITS: Stored = { quotaBytes: 0, pins: [], maxRate: 0, window: '' }

/** Less would be taken for a peer that hangs. */
export const MIN_RATE = 64 * 1024

/** What is not chosen stays as it is; null ends a limit. @throws BAD_INPUT */
export function chooseLimits(chosen: Chosen, current: Stored): Stored {
  const { quotaBytes, pins, maxRate, window } = chosen
  if (typeof quotaBytes === 'number' && !(Number.isSafeInteger(quotaBytes) && quotaBytes > 0))
    throw new FeedmeshError(
      'BAD_INPUT',
      `a quota of ${quotaBytes} bytes keeps nothing; say how much, such as 10GiB, or none`,
    )
  verifyRate(maxRate)
  if (typeof window === 'string') parseTimeWindow(window)
  return {
    quotaBytes: choose(quotaBytes, current.quotaBytes, 0),
    pins: pins ?? current.pins,
    maxRate: choose(maxRate, current.maxRate, 0),
    window: choose(window, current.window, ''),
  }
}

/** Bytes a second. @throws BAD_INPUT */
export function verifyRate(maxRate: number | null | undefined): void {
  if (typeof maxRate !== 'number' || (Number.isSafeInteger(maxRate) && maxRate >= MIN_RATE)) return
  throw new FeedmeshError(
    'BAD_INPUT',
    `a rate of ${maxRate} bytes a second is too little: peers take it for a hanging connection; the least is ${MIN_RATE / 1024}KiB/s`,
  )
}

function choose<T>(chosen: T | null | undefined, current: T, none: T): T {
  if (chosen === undefined) return current
  return chosen === null ? none : chosen
}

export function renderLimits(stored: Stored): ReplicationLimits {
  const { quotaBytes, pins, maxRate, window } = stored
  return {
    quotaBytes: quotaBytes === 0 ? null : quotaBytes,
    pins,
    maxRate: maxRate === 0 ? null : maxRate,
    window: window === '' ? null : window,
  }
}
