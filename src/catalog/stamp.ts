/**
 * Hybrid logical clock: 48 bits of Unix milliseconds, 16 bits of counter, as one unsigned 64-bit number.
 * (Kulkarni et al., "Logical Physical Clocks", 2014.) Orders writes across nodes as long as clocks are roughly right.
 */

import { FeedmeshError } from '../errors.ts'

export type Stamp = bigint

/** How far ahead of its receiver's clock a stamp or issue time may be, ms. */
export const MAX_CLOCK_AHEAD_MS = 5 * 60_000

export function stampAt(unixMs: number, counter = 0): Stamp {
  return (BigInt(Math.max(0, Math.trunc(unixMs))) << 16n) | BigInt(counter)
}

export function stampMs(stamp: Stamp): number {
  return Number(stamp >> 16n)
}

/** The stamp of the next write: after everything seen, and not before the clock. */
export function nextStamp(latest: Stamp, nowMs: number): Stamp {
  const physical = stampAt(nowMs)
  return physical > latest ? physical : latest + 1n
}

/** @throws PEER_INVALID when `stamp` is more than MAX_CLOCK_AHEAD_MS ahead of `nowMs` */
export function verifyStampNotAhead(stamp: Stamp, nowMs: number, what: string): void {
  if (stampMs(stamp) > nowMs + MAX_CLOCK_AHEAD_MS) {
    const when = new Date(stampMs(stamp)).toISOString()
    throw new FeedmeshError(
      'PEER_INVALID',
      `${what} is stamped ${when}, in the future of this node; compare the clocks of both ends`,
    )
  }
}
