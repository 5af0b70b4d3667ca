/** Whom of the many readers of a feed a node deals with: the nearest, and of equally near ones its neighbours on a ring. */

import { isSameRegion, isSameSite, type Place } from '../catalog/policy.ts'

export interface Placed extends Place {
  readonly peerId: string
}

export interface PeerCounts {
  readonly site: number
  readonly region: number
  readonly elsewhere: number
}

/**
 * Those of the own site first, then of the own region, then the rest. Where there are too many, the next ones up and down in
 * the order of PeerIds: so two nodes choose each other, and no node is chosen by all.
 */
export function choosePeers<Peer extends Placed>(own: Placed, peers: Iterable<Peer>, counts: PeerCounts): Peer[] {
  const others = [...peers].filter(({ peerId }) => peerId !== own.peerId)
  const rings = Map.groupBy(others, (peer) =>
    isSameSite(own, peer) ? 'site' : isSameRegion(own, peer) ? 'region' : 'elsewhere',
  )
  return (['site', 'region', 'elsewhere'] as const).flatMap((ring) =>
    nearestOnRing(own.peerId, rings.get(ring) ?? [], counts[ring]),
  )
}

function nearestOnRing<Peer extends Placed>(own: string, peers: readonly Peer[], count: number): Peer[] {
  if (peers.length <= count) return [...peers]
  const ring = peers.toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1))
  const after = ring.findIndex(({ peerId }) => peerId > own)
  const start = after === -1 ? ring.length : after
  const chosen: Peer[] = []
  for (let step = 0; chosen.length < count; step += 1) {
    chosen.push(ring.at((start + step) % ring.length)!)
    if (chosen.length < count) chosen.push(ring.at((start - 1 - step + 2 * ring.length) % ring.length)!)
  }
  return chosen
}
