/** Learns the newest heads of a linked feed and of its closure from a peer, and checks them before anything else happens. */

import type { Ask } from '../../protocols/mesh/sync/asker.ts'
import type { HeadReply } from '../../protocols/mesh/sync/messages.ts'
import {
  type Charter,
  type FeedId,
  feedIdBytes,
  feedIdOf,
  feedIdText,
  MAX_CLOSURE,
  openCharter,
  verifyFirstCharter,
  verifyNextCharter,
} from '../catalog/charter.ts'
import type { Revocations } from '../catalog/grant.ts'
import { compareOrder, type Deps, type Manifest, openManifest, verifyManifest } from '../catalog/manifest.ts'
import type { Signed } from '../catalog/signed.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'

export interface Head {
  readonly feedId: FeedId
  /** What is here, undefined for a feed not known before. */
  readonly known: FeedState | undefined
  readonly charter: Signed<Charter>
  /** Charter versions that are new here, oldest first, verified. */
  readonly newCharters: readonly Signed<Charter>[]
  /** undefined when what is here is the newest. */
  readonly newer:
    | {
        readonly manifest: Signed<Manifest>
        readonly deps: Deps
        readonly revocations: Revocations
        readonly change: 'refresh' | 'advance'
      }
    | undefined
  readonly logFrom: number
}

export interface HeadsPort {
  readonly ask: Ask
  readonly floor: Floor
  readonly nowMs: number
  find(feedId: FeedId): FeedState | undefined
  isOwn(feedId: FeedId): boolean
}

async function askHead(
  port: HeadsPort,
  feedId: FeedId,
  have: { charterVersion: number; epoch: number; seq: number; refresh: number },
): Promise<HeadReply> {
  for await (const reply of port.ask({ kind: 'head', feedId: feedIdBytes(feedId), ...have })) {
    if (reply.kind === 'head') return reply
  }
  throw new FeedmeshError('PEER_INVALID', 'sync: the peer did not answer with the head that was asked for')
}

function verifyCharters(
  feedId: FeedId,
  known: Signed<Charter> | undefined,
  encoded: readonly Uint8Array[],
): Signed<Charter>[] {
  const charters: Signed<Charter>[] = []
  let current = known
  for (const bytes of encoded) {
    const next = openCharter(bytes)
    if (current === undefined) verifyFirstCharter(next)
    else verifyNextCharter(current, next)
    if (feedIdOf(next) !== feedId)
      throw new FeedmeshError('FORGED', `the peer sent the charter of feed ${feedIdOf(next)} for feed ${feedId}`)
    charters.push(next)
    current = next
  }
  return charters
}

/** @throws ROLLED_BACK when the floor outside the database is above the manifest */
function verifyAboveFloor(floor: Floor, feedId: FeedId, manifest: Manifest): void {
  const lowest = floor.find(feedId)
  if (lowest !== undefined && compareOrder(manifest, lowest) < 0) {
    throw new FeedmeshError(
      'ROLLED_BACK',
      `manifest (${manifest.epoch}, ${manifest.seq}, ${manifest.refresh}) of feed ${feedId} is older than (${lowest.epoch}, ${lowest.seq}, ${lowest.refresh}), which this node has accepted before`,
    )
  }
}

function verifyNewer(
  port: HeadsPort,
  reply: HeadReply,
  against: { charter: Signed<Charter>; known: FeedState | undefined },
): Head['newer'] {
  if (reply.manifest === null) return undefined
  const manifest = openManifest(reply.manifest)
  const floor = against.known?.manifest
  const change = verifyManifest(manifest, {
    charter: against.charter,
    nowMs: port.nowMs,
    ...(floor === undefined ? {} : { floor }),
  })
  verifyAboveFloor(port.floor, feedIdOf(against.charter), manifest.value)
  if (change === 'same') return undefined
  if (reply.revocations === null)
    throw new FeedmeshError('PEER_INVALID', 'sync: a manifest without its revocation list')
  return { manifest, deps: reply.deps, revocations: reply.revocations, change }
}

const NEVER = { epoch: 0, seq: 0, refresh: 0 }

/** Whether the reply's manifest is signed under a charter that further replies have yet to bring. */
function isCutShort(reply: HeadReply, newest: Signed<Charter> | undefined): boolean {
  if (reply.manifest === null || newest === undefined || reply.charters.length === 0) return false
  return Buffer.compare(openManifest(reply.manifest).value.charter, newest.hash) !== 0
}

/** @throws FORGED, FORKED, ROLLED_BACK, PEER_INVALID, NOT_FOUND */
export async function learnHead(port: HeadsPort, feedId: FeedId): Promise<Head> {
  const known = port.find(feedId)
  const { epoch, seq, refresh } = known?.manifest?.value ?? NEVER
  const newCharters: Signed<Charter>[] = []
  for (;;) {
    const newest = newCharters.at(-1) ?? known?.charter
    const reply = await askHead(port, feedId, { charterVersion: newest?.value.version ?? 0, epoch, seq, refresh })
    newCharters.push(...verifyCharters(feedId, newest, reply.charters))
    const charter = newCharters.at(-1) ?? known?.charter
    if (charter === undefined)
      throw new FeedmeshError('PEER_INVALID', `sync: the peer sent no charter of feed ${feedId}`)
    // Every round brings at least one charter more, and a chain has an end.
    if (!isCutShort(reply, charter))
      return {
        feedId,
        known,
        charter,
        newCharters,
        newer: verifyNewer(port, reply, { charter, known }),
        logFrom: reply.logFrom,
      }
  }
}

/** A feed of the closure that this peer could not be asked for, or about which it said what does not verify. */
export interface AbsentFeed {
  readonly feedId: FeedId
  readonly error: FeedmeshError
}

/** Errors that are about one feed, not about the connection: the other feeds go on without it. */
export function isAboutFeed(error: FeedmeshError): boolean {
  return isFeedmeshError(error, 'NOT_FOUND', 'FORBIDDEN', 'FORGED', 'FORKED', 'ROLLED_BACK', 'PEER_INVALID')
}

/** Heads of the linked feed and of every feed it reaches that the peer will tell of; the linked one first. */
export async function learnHeads(
  port: HeadsPort,
  linked: FeedId,
): Promise<{ readonly heads: Head[]; readonly absent: AbsentFeed[] }> {
  const heads: Head[] = []
  const absent: AbsentFeed[] = []
  const seen = new Set<FeedId>([linked])
  for (const feedId of seen) {
    if (port.isOwn(feedId)) continue
    try {
      const head = await learnHead(port, feedId)
      heads.push(head)
      for (const edge of head.charter.value.includes) seen.add(feedIdText(edge.feedId))
    } catch (thrown) {
      const error = asFeedmeshError(thrown)
      if (feedId === linked || !isAboutFeed(error)) throw error
      absent.push({ feedId, error })
    }
    if (seen.size > MAX_CLOSURE) break
  }
  return { heads, absent }
}
