/**
 * The contract of a directory that nodes keep together: who can be asked about what. A record says no more than that a PeerId
 * with its addresses stands under a key; what the key means, only those know who can compute it.
 */

export interface FoundPeer {
  readonly peerId: string
  /** As somebody told them: not checked, and of anything. At most 16. */
  readonly addresses: readonly string[]
}

export interface FindOptions {
  readonly signal: AbortSignal
  /** Peers after which the search ends. */
  readonly max: number
}

export interface FeedDirectory {
  /** Connected nodes of the directory; without one nothing can be announced or found. */
  readonly nodes: number
  /**
   * Says under `key` (32 bytes) that this node can be asked; a day later that is forgotten unless it is said again.
   * @throws PEER_UNREACHABLE no other node took the record; TIMEOUT, ABORTED
   */
  announce(key: Uint8Array, signal: AbortSignal): Promise<void>
  /** What was announced is not repeated by this node any more; what others were told is forgotten after a day. */
  withdraw(key: Uint8Array, signal: AbortSignal): Promise<void>
  /**
   * Each peer once, never this node, in the order in which they are heard of. Anybody can stand under a key.
   * @throws PEER_UNREACHABLE; TIMEOUT, ABORTED
   */
  find(key: Uint8Array, options: FindOptions): AsyncIterable<FoundPeer>
}
