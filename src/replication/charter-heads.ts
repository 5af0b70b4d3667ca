/**
 * The charters of a feed as a peer has them, held against those that are here.
 *
 * asker → answerer: "newest that I have: version, hash" → the ones that follow, if that one is the answerer's too; else the
 * answerer's newest alone. Then one of the two is behind, or their chains part somewhere: if the answerer's ends in the same
 * or a later generation and epoch, the asker asks for all of it and finds out where.
 */

import type { HeadReply } from '../../protocols/mesh/sync/messages.ts'
import { type Charter, type FeedId, feedIdBytes, feedIdOf, openCharter } from '../catalog/charter.ts'
import {
  type CharterChain,
  compareChains,
  compareEpochs,
  isSameCharter,
  openCharters,
  proveCharterFork,
} from '../catalog/charter-chain.ts'
import { type ForkProof, findFork } from '../catalog/fork-proof.ts'
import { openManifest } from '../catalog/manifest.ts'
import type { Signed } from '../catalog/signed.ts'
import { FeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import { forkError } from '../ledger/forks.ts'
import type { HeadsPort } from './heads.ts'

export interface LearntCharters {
  readonly known: FeedState | undefined
  /** In force, as far as this node and the peer know. */
  readonly charter: Signed<Charter>
  readonly newCharters: readonly Signed<Charter>[]
  /** The peer does not know the charter in force: what it says of states is old. */
  readonly isBehind: boolean
  /** The reply that goes with `charter`. */
  readonly reply: HeadReply
}

/** What this node says it has. */
interface Have {
  readonly charter: Signed<Charter> | undefined
  readonly state: FeedState | undefined
}

async function askHead(port: HeadsPort, feedId: FeedId, { charter, state }: Have): Promise<HeadReply> {
  const manifest = state?.manifest
  const { epoch, seq, refresh } = manifest?.value ?? { epoch: 0, seq: 0, refresh: 0 }
  const request = {
    kind: 'head',
    feedId: feedIdBytes(feedId),
    charterVersion: charter?.value.version ?? 0,
    charter: charter?.hash ?? null,
    epoch,
    seq,
    refresh,
    manifest: manifest?.hash ?? null,
    logSize: manifest?.value.logSize ?? null,
  } as const
  for await (const reply of port.ask(request)) {
    if (reply.kind === 'head') return reply
  }
  throw new FeedmeshError('PEER_INVALID', 'sync: the peer did not answer with the head that was asked for')
}

/** Whether the reply's manifest is signed under a charter that further replies have yet to bring. */
function isCutShort(reply: HeadReply, newest: Signed<Charter> | undefined): boolean {
  if (reply.manifest === null || newest === undefined || reply.charters.length === 0) return false
  return Buffer.compare(openManifest(reply.manifest).value.charter, newest.hash) !== 0
}

/** The charters after `have.charter`, over as many replies as it takes: each brings one more at least, and chains have an end. */
async function learnRest(
  port: HeadsPort,
  feedId: FeedId,
  start: { readonly have: Have; readonly reply: HeadReply },
): Promise<{ readonly charters: Signed<Charter>[]; readonly reply: HeadReply }> {
  const { have } = start
  let { reply } = start
  const charters: Signed<Charter>[] = []
  for (;;) {
    charters.push(...openCharters(feedId, charters.at(-1) ?? have.charter, reply.charters))
    const charter = charters.at(-1) ?? have.charter
    if (!isCutShort(reply, charter)) return { charters, reply }
    reply = await askHead(port, feedId, { ...have, charter })
  }
}

function isSuccessor(next: Signed<Charter>, known: Signed<Charter>): boolean {
  const { version, previous } = next.value
  return version === known.value.version + 1 && previous !== null && Buffer.compare(previous, known.hash) === 0
}

/** @throws ROLLED_BACK when the recovery key has overruled what the peer has */
function verifyGeneration(feedId: FeedId, known: Signed<Charter>, theirs: Signed<Charter>): void {
  if (theirs.value.generation >= known.value.generation) return
  throw new FeedmeshError(
    'ROLLED_BACK',
    `the peer has feed ${feedId} as it was before its recovery key overruled it; its node must learn the charter of generation ${known.value.generation}`,
  )
}

/** @throws FORKED, the proof is kept if there is one */
async function refuseFork(port: HeadsPort, ours: CharterChain, proof: ForkProof | undefined): Promise<never> {
  const fork = proof && findFork(proof, ours)
  const feedId = feedIdOf(ours[0]!)
  if (fork === undefined)
    throw new FeedmeshError('FORKED', `the owner of feed ${feedId} signed two charters that contradict each other`)
  await port.noteFork(fork)
  throw forkError(fork)
}

/** The peer's newest charter does not follow ours. */
async function learnBranch(port: HeadsPort, known: FeedState, reply: HeadReply): Promise<LearntCharters> {
  const { feedId } = known
  const theirs = openCharter(reply.charters.at(-1)!)
  if (feedIdOf(theirs) !== feedId)
    throw new FeedmeshError('FORGED', `the peer sent the charter of feed ${feedIdOf(theirs)} for feed ${feedId}`)
  const behind = { known, charter: known.charter, newCharters: [], isBehind: true, reply }
  const ours = await port.readChain(known)
  const twin = ours[theirs.value.version - 1]
  if (twin !== undefined && isSameCharter(twin, theirs)) return behind
  const proof = proveCharterFork(ours, [theirs])
  if (proof !== undefined && compareEpochs(theirs.value, known.charter.value) === 0)
    return await refuseFork(port, ours, proof)
  verifyGeneration(feedId, known.charter, theirs)
  if (compareEpochs(theirs.value, known.charter.value) < 0) return behind
  const have = { charter: undefined, state: undefined }
  const whole = await learnRest(port, feedId, { have, reply: await askHead(port, feedId, have) })
  const compared = compareChains(ours, whole.charters)
  if (compared.kind === 'forked') return await refuseFork(port, ours, compared.proof)
  if (compared.kind !== 'newer') return behind
  const { charters } = compared
  return { known, charter: charters.at(-1)!, newCharters: charters, isBehind: false, reply: whole.reply }
}

/** @throws FORGED, FORKED, ROLLED_BACK, PEER_INVALID, NOT_FOUND */
export async function learnCharters(port: HeadsPort, feedId: FeedId): Promise<LearntCharters> {
  const known = port.find(feedId)
  const have = { charter: known?.charter, state: known }
  const first = await askHead(port, feedId, have)
  const next = first.charters[0]
  if (known !== undefined && next !== undefined && !isSuccessor(openCharter(next), known.charter))
    return await learnBranch(port, known, first)
  const { charters, reply } = await learnRest(port, feedId, { have, reply: first })
  const charter = charters.at(-1) ?? known?.charter
  if (charter === undefined) throw new FeedmeshError('PEER_INVALID', `sync: the peer sent no charter of feed ${feedId}`)
  return { known, charter, newCharters: charters, isBehind: false, reply }
}
