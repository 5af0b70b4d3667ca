/**
 * Versions as NuGet reads them: up to four numbers, SemVer 2 prerelease labels without case, metadata that is ignored.
 * https://learn.microsoft.com/nuget/concepts/package-versioning
 */

import { FeedmeshError } from '../../../src/errors.ts'

const MAX_VERSION_LENGTH = 128
const MAX_NUMBER = 2 ** 31 - 1
/** A number in a prerelease label has no needless zeros, as SemVer 2 wants it. */
const LABEL = '(?:0|[1-9]\\d*|\\d*[A-Za-z-][0-9A-Za-z-]*)'
const NUMBER = '(\\d{1,10})'
const PATTERN = new RegExp(
  `^${NUMBER}(?:\\.${NUMBER})?(?:\\.${NUMBER})?(?:\\.${NUMBER})?(?:-(${LABEL}(?:\\.${LABEL})*))?(?:\\+([0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*))?$`,
)

export interface PackageVersion {
  /** Major, minor, patch, revision. */
  readonly numbers: readonly [number, number, number, number]
  readonly labels: readonly string[]
  readonly metadata: string | undefined
  /** Without needless zeros, revision 0 and metadata; case as given. Two spellings of one version differ in case only. */
  readonly normalized: string
  /** What identifies the version: `normalized` in lower case. */
  readonly key: string
}

export function findPackageVersion(text: string): PackageVersion | undefined {
  const trimmed = text.trim()
  const match = trimmed.length > MAX_VERSION_LENGTH ? null : PATTERN.exec(trimmed)
  if (match === null) return undefined
  const number = (group: number) => Number(match[group] ?? '0')
  const numbers = [number(1), number(2), number(3), number(4)] as const
  if (numbers.some((part) => part > MAX_NUMBER)) return undefined
  const [major, minor, patch, revision] = numbers
  const release = `${major}.${minor}.${patch}${revision === 0 ? '' : `.${revision}`}`
  const normalized = match[5] === undefined ? release : `${release}-${match[5]}`
  const labels = match[5]?.split('.') ?? []
  return { numbers, labels, metadata: match[6], normalized, key: normalized.toLowerCase() }
}

/** @throws BAD_INPUT */
export function parsePackageVersion(text: string): PackageVersion {
  const version = findPackageVersion(text)
  if (version !== undefined) return version
  throw new FeedmeshError(
    'BAD_INPUT',
    `version ${JSON.stringify(text.slice(0, 140))} is not of the form 1.2.3, 1.2.3.4 or 1.2.3-label`,
  )
}

export function comparePackageVersions(a: PackageVersion, b: PackageVersion): number {
  for (const [at, part] of a.numbers.entries()) {
    const other = b.numbers[at] ?? 0
    if (part !== other) return part - other
  }
  if (a.labels.length === 0 || b.labels.length === 0) return b.labels.length - a.labels.length
  for (let at = 0; at < Math.min(a.labels.length, b.labels.length); at += 1) {
    const order = compareLabels(a.labels[at] ?? '', b.labels[at] ?? '')
    if (order !== 0) return order
  }
  return a.labels.length - b.labels.length
}

export function isPrerelease(version: PackageVersion): boolean {
  return version.labels.length > 0
}

/** Versions that clients before NuGet 4.3 cannot read. */
export function isSemVer2(version: PackageVersion): boolean {
  return version.labels.length > 1 || version.metadata !== undefined
}

function compareLabels(a: string, b: string): number {
  const [x, y] = [findNumber(a), findNumber(b)]
  if (x !== undefined && y !== undefined) return x - y
  if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1
  const [left, right] = [a.toUpperCase(), b.toUpperCase()]
  if (left === right) return 0
  return left < right ? -1 : 1
}

/** Numbers beyond 32 bits are compared as text, as by NuGet. */
function findNumber(label: string): number | undefined {
  // A label of a minus and digits is a number to NuGet.
  if (!/^-?\d{1,40}$/.test(label)) return undefined
  const number = Number(label)
  return number > MAX_NUMBER || number < -MAX_NUMBER - 1 ? undefined : number
}
