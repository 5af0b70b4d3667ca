/** Order of Debian versions. https://www.debian.org/doc/debian-policy/ch-controlfields.html#version */

interface Version {
  readonly epoch: number
  readonly upstream: string
  readonly revision: string
}

function splitVersion(version: string): Version {
  const colon = version.indexOf(':')
  const rest = version.slice(colon + 1)
  const dash = rest.lastIndexOf('-')
  return {
    epoch: colon === -1 ? 0 : Number(version.slice(0, colon)),
    upstream: dash === -1 ? rest : rest.slice(0, dash),
    revision: dash === -1 ? '' : rest.slice(dash + 1),
  }
}

/** The tilde sorts before everything, even the end; letters before all other characters. */
function weigh(character: string | undefined): number {
  if (character === undefined) return 0
  if (character === '~') return -1
  return /[a-zA-Z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256
}

function compareText(a: string, b: string): number {
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const difference = weigh(a[at]) - weigh(b[at])
    if (difference !== 0) return difference
  }
  return 0
}

/** Numbers of any length. */
function compareDigits(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')]
  if (x.length !== y.length) return x.length - y.length
  return x < y ? -1 : Number(x > y)
}

/** Text and numbers by turns, text first. */
function compareParts(a: string, b: string): number {
  const [left, right] = [splitTurns(a), splitTurns(b)]
  for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
    const [x, y] = [left[at] ?? NOTHING, right[at] ?? NOTHING]
    const difference = compareText(x.text, y.text) || compareDigits(x.digits, y.digits)
    if (difference !== 0) return difference
  }
  return 0
}

const NOTHING = { text: '', digits: '' }

function splitTurns(part: string): (typeof NOTHING)[] {
  return [...part.matchAll(/(\D*)(\d*)/g)].map(([, text = '', digits = '']) => ({ text, digits }))
}

/** Negative when `a` is older. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [splitVersion(a), splitVersion(b)]
  return x.epoch - y.epoch || compareParts(x.upstream, y.upstream) || compareParts(x.revision, y.revision)
}
