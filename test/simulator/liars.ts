/** Well-formed lies of a peer that answers the sync protocol: rows left out, doubled or altered, wrong counts, old heads. */

import { answerSync, type SyncSource } from '../../protocols/mesh/sync/answerer.ts'
import type { SyncReply, SyncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeSegment, encodeSegment } from '../../protocols/mesh/sync/segments.ts'
import type { AnswerSync } from '../support/mesh-node.ts'
import type { Random } from '../support/random.ts'

export function flipBit(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = Buffer.from(bytes)
  if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
  return copy
}

function tamperItems(items: readonly Uint8Array[], random: Random): Uint8Array[] {
  const at = random.below(Math.max(1, items.length))
  const item = items[at]
  if (item === undefined) return [random.bytes(random.below(100))]
  const instead = random.pick([[], [item, item], [flipBit(item, random)], [random.bytes(item.length)]])
  return items.toSpliced(at, 1, ...instead)
}

function tamper(reply: SyncReply, random: Random): SyncReply {
  if (reply.kind === 'segment') return { ...reply, ...encodeSegment(tamperItems(decodeSegment(reply), random)) }
  if (reply.kind === 'nodes') return { ...reply, nodes: reply.nodes.map((node) => flipBit(node, random)) }
  if (reply.kind !== 'head') return reply
  if (reply.manifest !== null && random.chance(0.5)) return { ...reply, manifest: flipBit(reply.manifest, random) }
  return random.chance(0.5) ? { ...reply, logFrom: random.below(50) } : { ...reply, deps: [] }
}

/** Some of the replies are lies. */
export function lyingAnswers(random: Random, onLie: () => void): AnswerSync {
  return async function* answer(source: SyncSource, request: SyncRequest) {
    for await (const reply of answerSync(source, request)) {
      if (!random.chance(0.3)) {
        yield reply
        continue
      }
      onLie()
      yield tamper(reply, random)
    }
  }
}

/** Heads are those of the first time that somebody asked, of feeds that may be lied about. */
export function oldHeads(mayLie: (feedId: string) => boolean, onLie: () => void): AnswerSync {
  const first = new Map<string, SyncReply>()
  return async function* answer(source: SyncSource, request: SyncRequest) {
    const feed = Buffer.from(request.feedId).toString('hex')
    const old = first.get(feed)
    if (request.kind === 'head' && old !== undefined && mayLie(feed)) {
      onLie()
      yield old
      return
    }
    for await (const reply of answerSync(source, request)) {
      if (reply.kind === 'head' && reply.manifest !== null) first.set(feed, reply)
      yield reply
    }
  }
}
