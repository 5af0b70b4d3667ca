/** Durations and sizes as people write and read them. */

import { FeedmeshError } from '../errors.ts'

const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `500ms`, `60s`, `5m`, `1h`, `7d` → ms. @throws BAD_INPUT */
export function parseDuration(text: string, option: string): number {
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text) ?? []
  if (number === undefined || unit === undefined)
    throw new FeedmeshError('BAD_INPUT', `${option} ${JSON.stringify(text)} is not a duration such as 60s, 5m or 1h`)
  return Math.round(Number(number) * MS[unit as keyof typeof MS])
}

/** @throws BAD_INPUT */
export function parseCount(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text))
    throw new FeedmeshError('BAD_INPUT', `${option} ${JSON.stringify(text)} is not a whole number`)
  return Number(text)
}

/** `512KiB`, `20MB`, `1.5GiB` → bytes. @throws BAD_INPUT */
export function parseBytes(text: string, option: string): number {
  const [, number, unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?) ?(B|[KMGTP]i?B)$/.exec(text) ?? []
  if (number === undefined)
    throw new FeedmeshError('BAD_INPUT', `${option} ${JSON.stringify(text)} is not a size such as 512MiB or 10GiB`)
  const power = 'BKMGTP'.indexOf(unit[0] ?? 'B')
  const bytes = Math.round(Number(number) * (unit.includes('i') ? 1024 : 1000) ** power)
  if (Number.isSafeInteger(bytes)) return bytes
  throw new FeedmeshError('BAD_INPUT', `${option} ${text} is more than any disk holds`)
}

/** `20MiB/s` → bytes a second. @throws BAD_INPUT */
export function parseRate(text: string, option: string): number {
  const [, size] = /^(.+)\/s$/.exec(text) ?? []
  if (size === undefined)
    throw new FeedmeshError('BAD_INPUT', `${option} ${JSON.stringify(text)} is not a rate such as 20MiB/s`)
  return parseBytes(size, option)
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

export function renderBytes(bytes: number): string {
  const power = Math.min(BYTE_UNITS.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[power]}`
}

export function renderDuration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`
  return seconds < 2 * 86_400 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
}

export function renderItems(items: number): string {
  return `${items} ${items === 1 ? 'item' : 'items'}`
}
