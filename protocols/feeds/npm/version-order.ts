/**
 * Order of many versions, as semver has it: each is parsed once, plain releases without semver, so that a package of
 * thousands of versions costs no more than its rows.
 */

import semver from 'semver'

export interface OrderedVersion {
  readonly text: string
  readonly major: number
  readonly minor: number
  readonly patch: number
}

/** At most 15 digits, so that each part is a safe integer. */
const PLAIN_RELEASE = /^(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})$/

/** Undefined unless `text` is SemVer in its canonical spelling. */
export function findVersionOrder(text: string): OrderedVersion | undefined {
  const plain = PLAIN_RELEASE.exec(text)
  if (plain !== null) return { text, major: Number(plain[1]), minor: Number(plain[2]), patch: Number(plain[3]) }
  const parsed = semver.parse(text)
  if (parsed?.version !== text) return undefined
  const { major, minor, patch } = parsed
  return { text, major, minor, patch }
}

export function compareVersions(a: OrderedVersion, b: OrderedVersion): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch || semver.compare(a.text, b.text)
}

/** Canonical versions have no build metadata, so a hyphen begins a prerelease. */
export function isPrerelease(version: string): boolean {
  return version.includes('-')
}
