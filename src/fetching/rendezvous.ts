/**
 * Agreement without a word: whoever knows the same parts and the same peers comes to the same order of them.
 *
 * The hash is quick and not cryptographic. Whoever chooses digests or keys to win can only become the one that fetches, and
 * the time limits of `site-wait.ts` hold against a winner that does nothing.
 */

/** FNV-1a with a final mix, 32 bits. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return mix(hash)
}

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** How much a part belongs to a node: the greatest weight of all fetches it, and begins with its greatest. */
export function weigh(partHash: number, nodeHash: number): number {
  return mix(partHash ^ Math.imul(nodeHash, 0x9e3779b1))
}

export interface Contender {
  readonly id: string
  readonly hash: number
}

/** Whether `a` comes before `b` for the part; never both, so that equal weights do not make two fetch it. */
export function comesBefore(partHash: number, a: Contender, b: Contender): boolean {
  const [ofA, ofB] = [weigh(partHash, a.hash), weigh(partHash, b.hash)]
  return ofA === ofB ? a.id > b.id : ofA > ofB
}
