/**
 * Learns the newest heads of a linked feed and of its closure from a peer, and checks them before anything else happens.
 * The charters first (`charter-heads.ts`), then the proof of a fork if there is one, then the manifest.
 */

import type { Ask } from '../../protocols/mesh/sync/asker.ts'
import type { HeadReply } from '../../protocols/mesh/sync/messages.ts'
import { type Charter, type FeedId, feedIdOf, feedIdText, MAX_CLOSURE } from '../catalog/charter.ts'
import type { CharterChain } from '../catalog/charter-chain.ts'
import { createForkProof, type Fork, findFork, isAboveFork } from '../catalog/fork-proof.ts'
import type { Revocations } from '../catalog/grant.ts'
import { type Deps, isFork, type Manifest, openManifest, verifyManifest } from '../catalog/manifest.ts'
import type { Signed } from '../catalog/signed.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import { compareFloor, type Floor, floorOf } from '../ledger/floor.ts'
import { forkError } from '../ledger/forks.ts'
import { type LearntCharters, learnCharters } from './charter-heads.ts'

export interface Head {
  readonly feedId: FeedId
  /** What is here, undefined for a feed not known before. */
  readonly known: FeedState | undefined
  readonly charter: Signed<Charter>
  /** Charters that are new here, oldest first, verified; they take the place of what is stored from the first of them on. */
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
  /** Operations since the log that is here, when they came along. */
  readonly tail: HeadReply['tail']
}

export interface HeadsPort {
  readonly ask: Ask
  readonly floor: Floor
  readonly nowMs: number
  find(feedId: FeedId): FeedState | undefined
  isOwn(feedId: FeedId): boolean
  /** All charters of a feed that is here. */
  readChain(state: FeedState): Promise<CharterChain>
  findFork(feedId: FeedId): Fork | undefined
  /** Keeps a proof over restarts, and hands it on from now on. */
  noteFork(fork: Fork): Promise<void>
}

/** @throws ROLLED_BACK when the floor outside the database is above the manifest */
function verifyAboveFloor(floor: Floor, charter: Signed<Charter>, manifest: Manifest): void {
  const feedId = feedIdOf(charter)
  const lowest = floor.find(feedId)
  if (lowest !== undefined && compareFloor(floorOf(charter.value, manifest), lowest) < 0) {
    throw new FeedmeshError(
      'ROLLED_BACK',
      `manifest (${manifest.epoch}, ${manifest.seq}, ${manifest.refresh}) of feed ${feedId} is older than (${lowest.epoch}, ${lowest.seq}, ${lowest.refresh}), which this node has accepted before`,
    )
  }
}

interface Offer {
  readonly manifest: Signed<Manifest>
  readonly charter: Signed<Charter>
  readonly known: FeedState | undefined
}

/** A new generation begins anew: what the earlier one signed is no floor for it. */
function findFloor({ charter, known }: Offer): Signed<Manifest> | undefined {
  return known?.charter.value.generation === charter.value.generation ? known.manifest : undefined
}

/** @throws FORGED, FORKED (the proof is kept), ROLLED_BACK, PEER_INVALID */
async function verifyOffer(port: HeadsPort, offer: Offer): Promise<'same' | 'refresh' | 'advance'> {
  const { manifest, charter } = offer
  const floor = findFloor(offer)
  try {
    const change = verifyManifest(manifest, { charter, nowMs: port.nowMs, ...(floor === undefined ? {} : { floor }) })
    if (change !== 'same') verifyAboveFloor(port.floor, charter, manifest.value)
    return change
  } catch (error) {
    if (floor === undefined || !isFeedmeshError(error, 'FORKED') || !isFork(manifest.value, floor.value)) throw error
    const fork = findFork(createForkProof('manifest', manifest, floor), [charter])
    if (fork === undefined) throw error
    await port.noteFork(fork)
    throw forkError(fork)
  }
}

async function verifyNewer(port: HeadsPort, reply: HeadReply, learnt: LearntCharters): Promise<Head['newer']> {
  if (reply.manifest === null || learnt.isBehind) return undefined
  const { charter, known } = learnt
  const manifest = openManifest(reply.manifest)
  const change = await verifyOffer(port, { manifest, charter, known })
  if (change === 'same') return undefined
  const fork = port.findFork(feedIdOf(charter))
  if (fork !== undefined && isAboveFork(fork, { charter: charter.value, seq: manifest.value.seq }))
    throw forkError(fork)
  if (reply.revocations === null)
    throw new FeedmeshError('PEER_INVALID', 'sync: a manifest without its revocation list')
  return { manifest, deps: reply.deps, revocations: reply.revocations, change }
}

/** @throws PEER_INVALID, FORGED for a proof that proves nothing */
async function takeFork(port: HeadsPort, reply: HeadReply, learnt: LearntCharters): Promise<void> {
  if (reply.fork === null) return
  const { known, newCharters } = learnt
  const first = newCharters[0]?.value.version ?? Number.POSITIVE_INFINITY
  const kept = known === undefined ? [] : (await port.readChain(known)).slice(0, first - 1)
  const fork = findFork(reply.fork, [...kept, ...newCharters])
  if (fork !== undefined) await port.noteFork(fork)
}

/** @throws FORGED, FORKED, ROLLED_BACK, PEER_INVALID, NOT_FOUND */
export async function learnHead(port: HeadsPort, feedId: FeedId): Promise<Head> {
  const learnt = await learnCharters(port, feedId)
  const { reply, known, charter, newCharters } = learnt
  await takeFork(port, reply, learnt)
  const newer = await verifyNewer(port, reply, learnt)
  return { feedId, known, charter, newCharters, newer, logFrom: reply.logFrom, tail: reply.tail }
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

/**
 * Heads of the linked feed and of every feed it reaches that the peer will tell of; the linked one first. A forked one is
 * absent, but what it reaches as it is here is looked at all the same: it holds up nobody else.
 */
export async function learnHeads(
  port: HeadsPort,
  linked: FeedId,
): Promise<{ readonly heads: Head[]; readonly absent: AbsentFeed[] }> {
  const heads: Head[] = []
  const absent: AbsentFeed[] = []
  const seen = new Set<FeedId>([linked])
  const follow = (charter: Signed<Charter>) => {
    for (const edge of charter.value.includes) seen.add(feedIdText(edge.feedId))
  }
  for (const feedId of seen) {
    if (port.isOwn(feedId)) {
      // What this node's own feed includes the peer's may depend on, through it.
      const own = port.find(feedId)
      if (own !== undefined) follow(own.charter)
      continue
    }
    try {
      const head = await learnHead(port, feedId)
      heads.push(head)
      follow(head.charter)
    } catch (thrown) {
      const error = asFeedmeshError(thrown)
      const known = isFeedmeshError(error, 'FORKED') ? port.find(feedId) : undefined
      if ((feedId === linked && known === undefined) || !isAboutFeed(error)) throw error
      absent.push({ feedId, error })
      if (known !== undefined) follow(known.charter)
    }
    if (seen.size > MAX_CLOSURE) break
  }
  return { heads, absent }
}
