/** The byte channel between two nodes that the protocol state machines of this folder run on. Nothing here knows a socket. */

/** One bidirectional stream to an authenticated peer. */
export interface Channel {
  /** PeerId (text form, `12D3KooW…`) that the connection's handshake proved. */
  readonly remote: string
  /**
   * Resolves once the bytes are handed on and more may be sent (back-pressure); from then on `bytes` may be used again.
   * @throws PEER_UNREACHABLE when the stream was reset or closed
   */
  send(bytes: Uint8Array): Promise<void>
  /**
   * Bytes from the other end, in pieces of any size, each valid until the next is asked for; ends after the other end's half
   * close. Buffers a bounded amount. May be iterated once. @throws PEER_UNREACHABLE when the stream breaks before the other end's half close.
   */
  receive(): AsyncIterable<Uint8Array>
  /** Half close: tells the other end that nothing more comes, after everything sent has been flushed. */
  end(): Promise<void>
  /** Resets the stream in both directions; pending sends and receives fail. */
  abort(reason: Error): void
}
