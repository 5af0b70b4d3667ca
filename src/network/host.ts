/** The contract of this node's end of the mesh. `libp2p-host.ts` implements it; nothing outside this folder imports libp2p. */

import type { Channel } from '../../protocols/mesh/channel.ts'
import type { FeedDirectory } from './feed-directory.ts'

/** A peer of the address book or with a live connection. */
export interface PeerState {
  readonly peerId: string
  readonly connected: boolean
  /** Live connections: two when both ends dialled at once, or when two nodes run with one identity. */
  readonly connections: number
  /** Who dialled the live connection, the newest one of several. */
  readonly direction?: 'inbound' | 'outbound'
  readonly rttMs?: number
  /** Payload bytes per second over the last few seconds. */
  readonly inRate: number
  readonly outRate: number
  readonly addresses: readonly string[]
  /** Why the last dial failed and when, Unix ms; cleared by the next success. */
  readonly lastDialError?: { readonly message: string; readonly at: number }
}

export interface ProtocolLimits {
  /** Streams one connection may have open on the protocol at once; more are reset. */
  readonly maxInboundStreams: number
  /** A handler that has not finished after this long is aborted. */
  readonly maxDurationMs: number
  /** A stream on which nothing moves for this long is aborted; 30 s unless told. */
  readonly idleMs?: number
  /**
   * Carries much: where there is a bulk lane the protocol is served on it, too, and `open` prefers it. Both ends have to
   * say so; without a lane nothing is different.
   */
  readonly bulk?: boolean
}

export type PeerListener = (event: { readonly type: 'connected' | 'disconnected'; readonly peerId: string }) => void

export interface MeshHost extends AsyncDisposable {
  readonly peerId: string
  /** Where nodes find each other that know no peer in common; none unless the node takes part in it. */
  readonly directory?: FeedDirectory | undefined
  /** Addresses others can dial, each ending in `/p2p/<peerId>`. */
  addresses(): readonly string[]
  /**
   * Serves `protocol` (`/feedmesh/<name>/<major>`). The handler's errors reset the stream and are logged, never thrown on.
   * When it is done the channel is ended, and what it has not received is dropped. Its signal is aborted when the stream
   * breaks, the time is over or the host stops.
   * Called by `replication/guard.ts` only, which adds the check of what the peer may do.
   */
  handle(
    protocol: string,
    limits: ProtocolLimits,
    handler: (channel: Channel, signal: AbortSignal) => Promise<void>,
  ): Promise<void>
  /**
   * Connects unless connected; the addresses go into the book, unless the peer is kept.
   * @throws PEER_UNREACHABLE naming each address and why it failed; TIMEOUT; BAD_INPUT not a PeerId, or this node's own
   */
  connect(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void>
  /**
   * A new stream to a peer, over the live connection whoever dialled it, else after dialling the addresses of the book.
   * The caller ends or aborts it; a channel on which nothing moves for `idleMs` (30 s unless told) is aborted.
   * @throws PEER_UNREACHABLE, TIMEOUT; PEER_INVALID when the peer does not speak the protocol; BUSY too many are open
   */
  open(peerId: string, protocol: string, signal: AbortSignal, idleMs?: number): Promise<Channel>
  /** Keeps a connection to the peer for as long as the node runs: endless redial, jittered back-off of 1 s … 60 s. Repeat with other addresses to replace them. */
  keep(peerId: string, addresses: readonly string[]): void
  /** Stops redialling and closes the connection. */
  release(peerId: string): Promise<void>
  /** Forgets back-off and dials now what `keep` holds and is not connected. */
  redialNow(peerId: string): void
  peers(): readonly PeerState[]
  /** Returns the function that unsubscribes. */
  onPeer(listener: PeerListener): () => void
}
