/** The peers as the contract shows them: live ones and those of the address book, each once, by PeerId. */

import type { AddressBook, AddressEntry } from './address-book.ts'
import type { PeerState } from './host.ts'

/** What only a connected peer has. */
export type ConnectedPeer = Pick<PeerState, 'peerId' | 'connections' | 'direction' | 'rttMs' | 'inRate' | 'outRate'>

export function describePeers(book: AddressBook, connected: Iterable<ConnectedPeer>): readonly PeerState[] {
  const live = new Map([...connected].map((peer) => [peer.peerId, peer]))
  const known = new Set([...live.keys(), ...[...book.entries()].map(([peerId]) => peerId)])
  return [...known].sort().map((peerId) => describePeer(peerId, book.find(peerId), live.get(peerId)))
}

function describePeer(peerId: string, entry: AddressEntry | undefined, live: ConnectedPeer | undefined): PeerState {
  return {
    ...(live ?? { peerId, connections: 0, inRate: 0, outRate: 0 }),
    connected: live !== undefined,
    addresses: entry?.addresses ?? [],
    ...(entry?.lastDialError === undefined ? {} : { lastDialError: entry.lastDialError }),
  }
}
