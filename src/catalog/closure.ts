/**
 * The closure of a feed: every feed it reaches by inclusion, and what each may do there. A pure function of charters.
 *
 * Rules (protocols/mesh/README.md, "View"): nearest first, then by feedId; `through` bounds the steps beyond an inclusion;
 * a feed's level is the smallest number of `below` inclusions on any path to it; rights hold along a path only if every
 * inclusion on it gives them; the scope is the union over paths of the scopes intersected along each.
 */

import { type Charter, type FeedId, feedIdText, type Inclusion, MAX_CLOSURE, MAX_THROUGH_FEEDS } from './charter.ts'
import { isInScope } from './glob.ts'

export interface Member {
  readonly feedId: FeedId
  /** 0 for the viewing feed; lower wins. */
  readonly level: number
  /** Alternatives, one a path; each is a list of scopes that all must hold. */
  readonly scopes: readonly (readonly (readonly string[])[])[]
  readonly mayDelete: boolean
  readonly mayTag: boolean
  /** May add rows to a unit in which a better level has some. */
  readonly mayExtend: boolean
  /** No charter is here: the feed counts as met and has no rows. */
  readonly absent: boolean
}

export type CharterLookup = (feedId: FeedId) => Charter | undefined

/** How a path reached a feed; paths that agree in everything are one. */
interface Arrival {
  readonly feedId: FeedId
  readonly steps: number
  readonly remaining: number
  readonly level: number
  readonly scopes: readonly (readonly string[])[]
  readonly mayDelete: boolean
  readonly mayTag: boolean
  readonly mayExtend: boolean
}

/** More arrivals than this are not followed: beyond it only further spellings of scopes that are already wide. */
const MAX_ARRIVALS = 20_000

function follow(from: Arrival, edge: Inclusion): Arrival {
  const scope = [...edge.scope].sort()
  const known = scope.length === 0 || from.scopes.some((other) => other.join('\0') === scope.join('\0'))
  const below = edge.rank === 'below'
  return {
    feedId: feedIdText(edge.feedId),
    steps: from.steps + 1,
    remaining: Math.min(from.remaining - 1, edge.through),
    level: from.level + (below ? 1 : 0),
    scopes: known ? from.scopes : [...from.scopes, scope],
    mayDelete: from.mayDelete && edge.rights.mayDelete === 1,
    mayTag: from.mayTag && edge.rights.mayTag === 1,
    mayExtend: from.mayExtend && (!below || edge.rights.mayExtend === 1),
  }
}

interface Rung {
  readonly id: FeedId
  /** Steps that may still be taken beyond the feed. */
  readonly remaining: number
}

/** The feeds one step beyond `ring` that are not in `known`, by feedId. */
function nextRing(ring: readonly Rung[], known: ReadonlyMap<FeedId, number>, charterOf: CharterLookup): Rung[] {
  const edges = ring
    .filter((rung) => rung.remaining > 0)
    .flatMap((rung) => (charterOf(rung.id)?.includes ?? []).map((edge) => ({ edge, rung })))
  const next = new Map<FeedId, number>()
  for (const { edge, rung } of edges) {
    const target = feedIdText(edge.feedId)
    const remaining = Math.min(rung.remaining - 1, edge.through)
    if (!known.has(target)) next.set(target, Math.max(remaining, next.get(target) ?? 0))
  }
  return [...next].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, remaining]) => ({ id, remaining }))
}

/** Feeds reachable through one direct inclusion with their distance, at most MAX_THROUGH_FEEDS beyond it. */
function reachThrough(edge: Inclusion, charterOf: CharterLookup): Map<FeedId, number> {
  const first = feedIdText(edge.feedId)
  const steps = new Map<FeedId, number>([[first, 1]])
  let ring: Rung[] = [{ id: first, remaining: edge.through }]
  for (let distance = 2; ring.length > 0; distance += 1) {
    ring = nextRing(ring, steps, charterOf).slice(0, MAX_THROUGH_FEEDS + 1 - steps.size)
    for (const { id } of ring) steps.set(id, distance)
  }
  return steps
}

function admit(viewing: FeedId, charterOf: CharterLookup): Set<FeedId> {
  const steps = new Map<FeedId, number>()
  for (const edge of charterOf(viewing)?.includes ?? []) {
    for (const [id, distance] of reachThrough(edge, charterOf)) {
      steps.set(id, Math.min(distance, steps.get(id) ?? distance))
    }
  }
  steps.delete(viewing)
  const ordered = [...steps].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
  return new Set(ordered.slice(0, MAX_CLOSURE).map(([id]) => id))
}

export class Closure {
  readonly viewing: FeedId
  readonly members: ReadonlyMap<FeedId, Member>
  readonly #charterOf: CharterLookup
  readonly #reach = new Map<string, ReadonlySet<FeedId>>()

  constructor(viewing: FeedId, charterOf: CharterLookup) {
    this.viewing = viewing
    this.#charterOf = charterOf
    this.members = this.#gather(admit(viewing, charterOf))
  }

  #gather(admitted: ReadonlySet<FeedId>): Map<FeedId, Member> {
    const start: Arrival = {
      feedId: this.viewing,
      steps: 0,
      remaining: Number.MAX_SAFE_INTEGER,
      level: 0,
      scopes: [],
      mayDelete: true,
      mayTag: true,
      mayExtend: true,
    }
    const members = new Map<FeedId, Member>([[this.viewing, this.#join(undefined, start)]])
    const seen = new Set<string>()
    const queue = [start]
    for (let at = 0; at < queue.length && at < MAX_ARRIVALS; at += 1) {
      const from = queue[at]!
      for (const edge of from.remaining > 0 ? (this.#charterOf(from.feedId)?.includes ?? []) : []) {
        const arrival = follow(from, edge)
        const name = JSON.stringify(arrival)
        if (!admitted.has(arrival.feedId) || seen.has(name)) continue
        seen.add(name)
        members.set(arrival.feedId, this.#join(members.get(arrival.feedId), arrival))
        queue.push(arrival)
      }
    }
    return members
  }

  #join(known: Member | undefined, arrival: Arrival): Member {
    return {
      feedId: arrival.feedId,
      level: Math.min(arrival.level, known?.level ?? arrival.level),
      scopes: [...(known?.scopes ?? []), arrival.scopes],
      mayDelete: arrival.mayDelete || known?.mayDelete === true,
      mayTag: arrival.mayTag || known?.mayTag === true,
      mayExtend: arrival.mayExtend || known?.mayExtend === true,
      absent: this.#charterOf(arrival.feedId) === undefined,
    }
  }

  isInScope(member: Member, unit: string): boolean {
    return member.scopes.some((path) => path.every((scope) => isInScope(scope, unit)))
  }

  /** Whether a candidate of `a` makes one of `b` drop out: a lower level, or stands above within the level and is not stood above by it. */
  outranks(a: Member, b: Member): boolean {
    if (a.level !== b.level) return a.level < b.level
    return this.#reaches('above', b.feedId, a.feedId) && !this.#reaches('above', a.feedId, b.feedId)
  }

  /** Whether tombstones (`delete`) or tags and flags (`tag`) of `actor` act on rows of `target`. */
  mayAct(right: 'delete' | 'tag', actor: Member, target: Member): boolean {
    if (actor.feedId === target.feedId) return true
    if (!(right === 'delete' ? actor.mayDelete : actor.mayTag)) return false
    return target.level > actor.level || this.#reaches(right, target.feedId, actor.feedId)
  }

  /** Whether inclusions of the kind lead from one feed to the other, within the closure. */
  #reaches(kind: 'above' | 'delete' | 'tag', from: FeedId, to: FeedId): boolean {
    const name = `${kind} ${from}`
    let reach = this.#reach.get(name)
    if (reach === undefined) {
      reach = this.#walk(from, kind)
      this.#reach.set(name, reach)
    }
    return reach.has(to)
  }

  #walk(from: FeedId, kind: 'above' | 'delete' | 'tag'): Set<FeedId> {
    const level = this.members.get(from)?.level
    const found = new Set<FeedId>()
    const queue = [from]
    for (const id of queue) {
      for (const edge of this.#charterOf(id)?.includes ?? []) {
        const target = feedIdText(edge.feedId)
        const member = this.members.get(target)
        const allowed =
          kind === 'above'
            ? edge.rank === 'above' && member?.level === level
            : edge.rights[kind === 'delete' ? 'mayDelete' : 'mayTag'] === 1
        if (member === undefined || !allowed || found.has(target)) continue
        found.add(target)
        queue.push(target)
      }
    }
    return found
  }
}
