/** What is wrong with feeds of this node and with what they include: forked, restored, gone back, stale. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { renderFork } from '../catalog/fork-proof.ts'
import { isReceiving } from '../catalog/policy.ts'
import type { LocalFeed, Registry } from '../ledger/registry.ts'
import type { ReturnedRow } from '../ledger/returned-rows.ts'
import type { Book } from '../replication/book.ts'
import { type CatchUp, renderOpenPast } from '../replication/catch-up.ts'
import type { Found } from './problems.ts'

export interface FeedProblemsOptions {
  readonly registry: Registry
  readonly book: Book
  readonly catchUp: CatchUp
  readonly rebuiltAt: number | undefined
  readonly now: () => number
}

export function* findFeedProblems(options: FeedProblemsOptions): Generator<Found> {
  const { registry } = options
  yield* rebuilt(options)
  for (const local of registry.locals.values()) {
    const state = registry.states.get(local.id)
    if (state === undefined) continue
    yield* restored(local, options)
    for (const inclusion of state.charter.value.includes) yield* stale(local, feedIdText(inclusion.feedId), options)
    yield* forked(local, registry)
    yield* undone(local, registry)
  }
}

/** Until everything that peers can give back is here again. */
function* rebuilt({ registry, book, catchUp, rebuiltAt }: FeedProblemsOptions): Generator<Found> {
  if (rebuiltAt === undefined) return
  const waiting = book.links.all().filter((link) => {
    const replication = book.replications.find(link.replication)
    const receives = replication !== undefined && !replication.paused && isReceiving(replication.mode)
    return receives && link.revokedAt === null && (link.equalAt ?? 0) < rebuiltAt
  })
  const open = [...registry.locals.values()].filter((local) => catchUp.find(local.id, { registry, book }) !== undefined)
  if (waiting.length === 0 && open.length === 0) return
  const names = new Set([...waiting.map((link) => link.localName), ...open.map((local) => local.name)])
  yield {
    code: 'DATABASE_REBUILT',
    subject: 'data folder',
    message: `the database was lost and is rebuilt; still to come from peers: ${[...names].join(', ')}`,
    cure: 'feedmesh replication run --all --wait',
    sinceMs: rebuiltAt,
  }
}

function* restored(local: LocalFeed, { registry, book, catchUp }: FeedProblemsOptions): Generator<Found> {
  const open = catchUp.find(local.id, { registry, book })
  if (open === undefined) return
  yield {
    code: 'FEED_RESTORED',
    subject: local.name,
    message: `nothing is signed for ${local.name}: the data was restored, and ${renderOpenPast(open)}`,
    cure: open.missing.length > 0 ? 'feedmesh replication run --all' : `feedmesh feed new-epoch ${local.name}`,
  }
}

function* stale(local: LocalFeed, source: FeedId, { registry, now }: FeedProblemsOptions): Generator<Found> {
  const manifest = registry.states.get(source)?.manifest?.value
  if (manifest === undefined || manifest.expiresAt >= now()) return
  yield {
    code: 'FEED_STALE',
    subject: local.name,
    message: `the source of ${local.name} signed nothing since ${new Date(manifest.issuedAt).toISOString()}; what was received is served on`,
    cure: 'feedmesh replication run --all, and look at the source node with feedmesh doctor',
    sinceMs: manifest.expiresAt,
  }
}

/** Forks of the feed and of all that it counts. */
function* forked(local: LocalFeed, registry: Registry): Generator<Found> {
  for (const feedId of registry.views.get(local.id)?.closure.members.keys() ?? []) {
    const state = registry.states.get(feedId)
    const fork = state && registry.forks.findOpen(state)
    if (fork === undefined) continue
    const isOwn = feedId === local.id
    yield {
      code: 'FEED_FORKED',
      subject: isOwn ? local.name : `${local.name} ← ${feedId.slice(0, 12)}`,
      message: `${renderFork(fork)}: nothing at or above it is taken by anybody, what was received is served on`,
      cure: isOwn
        ? `feedmesh feed new-epoch ${local.name}`
        : 'at the node that owns the feed: feedmesh feed new-epoch NAME',
    }
  }
}

/** Rows that a new epoch of the feed or of what it counts undid, and that nobody has answered for. */
function* undone(local: LocalFeed, registry: Registry): Generator<Found> {
  const members = new Set(registry.views.get(local.id)?.closure.members.keys())
  const open = registry.returned.listOf(members).filter((row) => !row.isAnswered)
  const of = (kind: ReturnedRow['kind']) => open.filter((row) => row.kind === kind)
  const [returned, others] = [of('came back'), [...of('lost'), ...of('went back')]]
  const sinceOf = (rows: readonly ReturnedRow[]) => Math.min(...rows.map((row) => row.at))
  if (returned.length > 0)
    yield {
      code: 'ROWS_RETURNED',
      subject: local.name,
      message: `a new epoch of a source of ${local.name} brought ${returned.length} rows back that were gone; clients do not see them`,
      cure: `feedmesh feed returned ${local.name}, then again with --show or --hide`,
      sinceMs: sinceOf(returned),
    }
  if (others.length > 0)
    yield {
      code: 'ROWS_LOST',
      subject: local.name,
      message: `a new epoch of a source of ${local.name} lacks ${of('lost').length} rows that were here, and has an older value of ${of('went back').length}`,
      cure: `feedmesh feed returned ${local.name}; publish at the source again what is missed, then --hide`,
      sinceMs: sinceOf(others),
    }
}
