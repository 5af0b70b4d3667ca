/** Order of RPM versions. https://rpm-software-management.github.io/rpm/manual/dependencies.html */

import type { PackageKey } from './format.ts'

/** Words, numbers, and the two marks that count; everything else only separates. */
const PART = /~|\^|[0-9]+|[A-Za-z]+/g

function compareNumbers(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')]
  return x.length - y.length || compareText(x, y)
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

/** What is lower stands first: a tilde is before the end, the end before a caret, a caret before all that goes on. */
function weigh(part: string | undefined): number {
  if (part === '~') return -1
  if (part === undefined) return 0
  if (part === '^') return 1
  return /^[0-9]/.test(part) ? 3 : 2
}

/** Versions or releases. Negative when `a` is older. */
export function compareSegments(a: string, b: string): number {
  const [left, right] = [a.match(PART) ?? [], b.match(PART) ?? []]
  for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
    const [x, y] = [left[at], right[at]]
    const difference = weigh(x) - weigh(y)
    if (difference !== 0) return difference
    if (x === undefined || y === undefined || x === y) continue
    const byContent = weigh(x) === 3 ? compareNumbers(x, y) : compareText(x, y)
    if (byContent !== 0) return byContent
  }
  return 0
}

/** Negative when `a` is older. */
export function compareVersions(a: Omit<PackageKey, 'arch'>, b: Omit<PackageKey, 'arch'>): number {
  return a.epoch - b.epoch || compareSegments(a.version, b.version) || compareSegments(a.release, b.release)
}
