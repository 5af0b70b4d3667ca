/** Globs over unit and item names: `*` = any run of characters, `?` = one (a code point). Everything else is literal. */

/** Linear in text × pattern at worst; no regular expression is built from an operator's or a peer's text. */
export function isGlobMatch(pattern: string, text: string): boolean {
  let [p, t, starAt, resumeAt] = [0, 0, -1, 0]
  while (t < text.length) {
    if (pattern[p] === '*') {
      starAt = p
      resumeAt = t
      p += 1
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      t += pattern[p] === '?' && (text.codePointAt(t) ?? 0) > 0xffff ? 2 : 1
      p += 1
    } else if (starAt >= 0) {
      p = starAt + 1
      resumeAt += 1
      t = resumeAt
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p += 1
  return p === pattern.length
}

/** Whether `text` is within a scope; an empty scope holds everything. */
export function isInScope(scope: readonly string[], text: string): boolean {
  return scope.length === 0 || scope.some((pattern) => isGlobMatch(pattern, text))
}
