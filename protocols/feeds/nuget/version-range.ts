/** https://learn.microsoft.com/nuget/concepts/package-versioning#version-ranges */

import { comparePackageVersions, findPackageVersion, type PackageVersion } from './package-version.ts'

interface Interval {
  readonly lower: PackageVersion | undefined
  readonly upper: PackageVersion | undefined
  readonly isLowerIn: boolean
  readonly isUpperIn: boolean
}

/** An empty range holds every version, one that cannot be read none. */
export function isInRange(version: PackageVersion, range: string): boolean {
  if (range.trim() === '') return true
  const interval = findInterval(range.trim())
  if (interval === undefined) return false
  const { lower, upper, isLowerIn, isUpperIn } = interval
  const above = lower === undefined ? 1 : comparePackageVersions(version, lower)
  const below = upper === undefined ? 1 : comparePackageVersions(upper, version)
  return (isLowerIn ? above >= 0 : above > 0) && (isUpperIn ? below >= 0 : below > 0)
}

function findInterval(text: string): Interval | undefined {
  const bare = findPackageVersion(text)
  if (bare !== undefined) return { lower: bare, upper: undefined, isLowerIn: true, isUpperIn: false }
  const [, open, inside = '', close] = /^([[(])([^[\]()]*)([\])])$/.exec(text) ?? []
  const [low = '', high = low, ...more] = inside.split(',').map((part) => part.trim())
  const [lower, upper] = [findPackageVersion(low), findPackageVersion(high)]
  const isReadable = (part: string, version: PackageVersion | undefined) => part === '' || version !== undefined
  if (open === undefined || more.length > 0 || !isReadable(low, lower) || !isReadable(high, upper)) return undefined
  return { lower, upper, isLowerIn: open === '[', isUpperIn: close === ']' }
}
