/**
 * The closure of a feed: every feed it reaches by inclusion, and what each may do there. A pure function of charters.
 *
 * Rules (protocols/mesh/README.md, "Closure"): nearest first, then by feedId; `through` bounds the steps beyond an inclusion;
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

interface Edge extends Inclusion {
  readonly target: FeedId
}

/** The inclusions of a feed's charter, none where it is not here. */
type EdgeLookup = (feedId: FeedId) => readonly Edge[]

function rememberEdges(charterOf: CharterLookup): EdgeLookup {
  const known = new Map<FeedId, readonly Edge[]>()
  return (id) => {
    let edges = known.get(id)
    if (edges === undefined) {
      edges = (charterOf(id)?.includes ?? []).map((edge) => ({ ...edge, target: feedIdText(edge.feedId) }))
      known.set(id, edges)
    }
    return edges
  }
}

/** How paths reached a feed; paths that agree in everything are one way. */
interface Way {
  readonly feedId: FeedId
  /** Steps that may still be taken beyond the feed. */
  readonly remaining: number
  readonly level: number
  readonly scopes: readonly (readonly string[])[]
  readonly mayDelete: boolean
  readonly mayTag: boolean
  readonly mayExtend: boolean
}

/** Different ways to one feed through one direct inclusion that are told apart; later (longer) ones are not followed. */
export const MAX_WAYS = 16

function sameScope(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((glob, index) => glob === b[index])
}

function follow(from: Way, edge: Edge): Way {
  const scope = [...edge.scope].sort()
  const known = scope.length === 0 || from.scopes.some((other) => sameScope(other, scope))
  const below = edge.rank === 'below'
  return {
    feedId: edge.target,
    remaining: Math.min(from.remaining - 1, edge.through),
    level: from.level + (below ? 1 : 0),
    scopes: known ? from.scopes : [...from.scopes, scope],
    mayDelete: from.mayDelete && edge.rights.mayDelete === 1,
    mayTag: from.mayTag && edge.rights.mayTag === 1,
    mayExtend: from.mayExtend && (!below || edge.rights.mayExtend === 1),
  }
}

/** Whether everything that `b` allows, `a` allows. */
function covers(a: Way, b: Way): boolean {
  return (
    a.remaining >= b.remaining &&
    a.level <= b.level &&
    (a.mayDelete || !b.mayDelete) &&
    (a.mayTag || !b.mayTag) &&
    (a.mayExtend || !b.mayExtend) &&
    a.scopes.every((scope) => b.scopes.some((other) => sameScope(scope, other)))
  )
}

interface Distance {
  readonly steps: number
  /** Most steps that may still be taken beyond the feed, over all paths. */
  readonly remaining: number
}

/** Where one step beyond `ring`, all of whose feeds are known, leads that is new, or may be gone on from further than was known, by feedId. */
function nextRing(
  ring: readonly FeedId[],
  known: ReadonlyMap<FeedId, Distance>,
  edgesOf: EdgeLookup,
): (readonly [FeedId, number])[] {
  const next = new Map<FeedId, number>()
  for (const id of ring) {
    const left = known.get(id)!.remaining
    for (const { target, through } of left > 0 ? edgesOf(id) : []) {
      const remaining = Math.min(left - 1, through)
      if (remaining > Math.max(known.get(target)?.remaining ?? -1, next.get(target) ?? -1)) next.set(target, remaining)
    }
  }
  return [...next].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Feeds reachable through one direct inclusion with their distance: itself and at most MAX_THROUGH_FEEDS beyond, nearest first. */
function reachThrough(viewing: FeedId, edge: Edge, edgesOf: EdgeLookup): Map<FeedId, Distance> {
  const first = edge.target
  const known = new Map<FeedId, Distance>([[first, { steps: 1, remaining: edge.through }]])
  let ring = [first]
  for (let steps = 2; ring.length > 0; steps += 1) {
    const expanded: FeedId[] = []
    for (const [id, remaining] of nextRing(ring, known, edgesOf)) {
      const before = known.get(id)
      if (id === viewing || (before === undefined && known.size > MAX_THROUGH_FEEDS)) continue
      known.set(id, { steps: before?.steps ?? steps, remaining })
      expanded.push(id)
    }
    ring = expanded
  }
  return known
}

/** For each direct inclusion, in the order of the charter, the feeds that count through it. */
function admit(viewing: FeedId, edgesOf: EdgeLookup): { order: FeedId[]; through: ReadonlySet<FeedId>[] } {
  const steps = new Map<FeedId, number>()
  const reached = edgesOf(viewing).map((edge) =>
    edge.target === viewing ? new Map<FeedId, Distance>() : reachThrough(viewing, edge, edgesOf),
  )
  for (const reach of reached) {
    for (const [id, distance] of reach) steps.set(id, Math.min(distance.steps, steps.get(id) ?? distance.steps))
  }
  const order = [...steps]
    .sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
    .slice(0, MAX_CLOSURE)
    .map(([id]) => id)
  const admitted = new Set(order)
  return { order, through: reached.map((reach) => new Set([...reach.keys()].filter((id) => admitted.has(id)))) }
}

/** The ways to each of `feeds` through one direct inclusion, shorter ones first. */
function waysThrough(start: Way, feeds: ReadonlySet<FeedId>, edgesOf: EdgeLookup): Map<FeedId, Way[]> {
  const ways = new Map<FeedId, Way[]>([[start.feedId, [start]]])
  const queue = [start]
  for (const from of queue) {
    for (const edge of from.remaining > 0 ? edgesOf(from.feedId) : []) {
      if (!feeds.has(edge.target)) continue
      const way = follow(from, edge)
      const known = ways.get(way.feedId) ?? []
      if (known.length >= MAX_WAYS || known.some((other) => covers(other, way))) continue
      ways.set(way.feedId, [...known, way])
      queue.push(way)
    }
  }
  return ways
}

/** The alternatives of `ways`: one that allows everything makes the others needless. */
function joinScopes(ways: readonly Way[]): readonly (readonly (readonly string[])[])[] {
  if (ways.some((way) => way.scopes.length === 0)) return [[]]
  const byName = new Map(ways.map((way) => [JSON.stringify(way.scopes), way.scopes]))
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, scopes]) => scopes)
}

export class Closure {
  readonly viewing: FeedId
  readonly members: ReadonlyMap<FeedId, Member>
  /** Names how the members stand to each other: two closures that agree in it and in their members merge alike. */
  readonly standing: string
  readonly #charterOf: CharterLookup
  readonly #edgesOf: EdgeLookup
  readonly #reach = new Map<string, ReadonlySet<FeedId>>()

  constructor(viewing: FeedId, charterOf: CharterLookup) {
    this.viewing = viewing
    this.#charterOf = charterOf
    this.#edgesOf = rememberEdges(charterOf)
    this.members = this.#gather()
    this.standing = this.#describeStanding()
  }

  #gather(): Map<FeedId, Member> {
    const start: Way = {
      feedId: this.viewing,
      remaining: Number.MAX_SAFE_INTEGER,
      level: 0,
      scopes: [],
      mayDelete: true,
      mayTag: true,
      mayExtend: true,
    }
    const { order, through } = admit(this.viewing, this.#edgesOf)
    const ways = new Map<FeedId, Way[]>(order.map((id) => [id, []]))
    for (const [index, edge] of this.#edgesOf(this.viewing).entries()) {
      const feeds = through[index]
      if (feeds?.has(edge.target) !== true) continue
      for (const [id, found] of waysThrough(follow(start, edge), feeds, this.#edgesOf)) ways.get(id)?.push(...found)
    }
    const reached = [[this.viewing, [start]] as const, ...ways].filter(([, found]) => found.length > 0)
    return new Map(reached.map(([id, found]) => [id, this.#join(id, found)]))
  }

  #join(feedId: FeedId, ways: readonly Way[]): Member {
    return {
      feedId,
      level: Math.min(...ways.map((way) => way.level)),
      scopes: joinScopes(ways),
      mayDelete: ways.some((way) => way.mayDelete),
      mayTag: ways.some((way) => way.mayTag),
      mayExtend: ways.some((way) => way.mayExtend),
      absent: this.#charterOf(feedId) === undefined,
    }
  }

  #describeStanding(): string {
    const edges = [...this.members.keys()].sort().flatMap((from) => {
      const inside = (this.#charterOf(from)?.includes ?? []).filter((edge) => this.members.has(feedIdText(edge.feedId)))
      return inside.map((edge) => [from, feedIdText(edge.feedId), edge.rank, edge.rights])
    })
    return JSON.stringify(edges)
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

  /** All that decides how the rows of a feed count beside others', for comparison; undefined for a feed that is no member. */
  standingOf(feedId: FeedId): string | undefined {
    const member = this.members.get(feedId)
    if (member === undefined) return undefined
    const kinds = ['above', 'delete', 'tag'] as const
    return JSON.stringify([member, kinds.map((kind) => [...this.#reachFrom(feedId, kind)].toSorted())])
  }

  /** Whether inclusions of the kind lead from one feed to the other, over members of any level. */
  #reaches(kind: 'above' | 'delete' | 'tag', from: FeedId, to: FeedId): boolean {
    return this.#reachFrom(from, kind).has(to)
  }

  #reachFrom(from: FeedId, kind: 'above' | 'delete' | 'tag'): ReadonlySet<FeedId> {
    const name = `${kind} ${from}`
    let reach = this.#reach.get(name)
    if (reach === undefined) {
      reach = this.#walk(from, kind)
      this.#reach.set(name, reach)
    }
    return reach
  }

  #walk(from: FeedId, kind: 'above' | 'delete' | 'tag'): Set<FeedId> {
    const found = new Set<FeedId>()
    const queue = [from]
    for (const id of queue) {
      for (const edge of this.#edgesOf(id)) {
        const allowed =
          kind === 'above' ? edge.rank === 'above' : edge.rights[kind === 'delete' ? 'mayDelete' : 'mayTag'] === 1
        if (!allowed || found.has(edge.target) || !this.members.has(edge.target)) continue
        found.add(edge.target)
        queue.push(edge.target)
      }
    }
    return found
  }
}
