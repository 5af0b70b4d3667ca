/**
 * When runs by schedule may be under way: `22:00-06:00`, every day, by the local clock. A clock that is set to summer time or
 * back is asked what it shows, never how much time has passed.
 */

import { FeedmeshError } from '../errors.ts'

const MINUTES_PER_DAY = 24 * 60
const FORM = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$/

export interface TimeWindow {
  /** Minutes of the day; `end` exclusive, before `start` for one that goes over midnight. */
  readonly start: number
  readonly end: number
}

/** @throws BAD_INPUT */
export function parseTimeWindow(text: string): TimeWindow {
  const [, startHour, startMinute, endHour, endMinute] = FORM.exec(text) ?? []
  const start = Number(startHour) * 60 + Number(startMinute)
  const end = Number(endHour) * 60 + Number(endMinute)
  if (endMinute === undefined || end > MINUTES_PER_DAY || start === end)
    throw new FeedmeshError(
      'BAD_INPUT',
      `${JSON.stringify(text.slice(0, 40))} is no window of time; write it as in 22:00-06:00, local time`,
    )
  return { start, end }
}

/** What the clock on the wall shows at a moment, in minutes of the day. */
export function localMinute(atMs: number): number {
  const at = new Date(atMs)
  return at.getHours() * 60 + at.getMinutes()
}

export function isInWindow({ start, end }: TimeWindow, minute: number): boolean {
  return start < end ? minute >= start && minute < end : minute >= start || minute < end
}

/** Whether a replication may do by itself what nobody waits for; an empty window is always open. */
export function isWindowOpen(window: string, nowMs: number): boolean {
  return window === '' || isInWindow(parseTimeWindow(window), localMinute(nowMs))
}
