/** What libp2p throws, as errors of ours. The one place that knows its error names and messages. */

import { FeedmeshError } from '../errors.ts'

/** libp2p's noise names the key that answered only in the text of its error. */
const WRONG_IDENTITY = /identity key (\S+) does not match expected/

/** Why dialling one address failed, as a phrase for a list of such reasons. */
export function describeDialError(error: unknown): string {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : []
  const cause = first ?? error
  if (!(cause instanceof Error)) return String(cause)
  const answered = WRONG_IDENTITY.exec(cause.message)?.[1]
  if (answered !== undefined) return `another node answers there: ${answered}`
  switch (cause.name) {
    case 'TimeoutError':
    case 'AbortError':
      return 'no answer in time'
    case 'NoValidAddressesError':
      return 'not an address this node can dial; expected /ip4/…/tcp/…, /ip6/…/tcp/… or /dns/…/tcp/…'
    case 'EncryptionFailedError':
      return `the handshake failed: ${cause.message || 'the connection closed'}`
    default:
      return cause.message || cause.name
  }
}

/** What the abort of `signal` means for its caller. */
export function abortError(signal: AbortSignal, what: string): FeedmeshError {
  const reason: unknown = signal.reason
  if (reason instanceof FeedmeshError) return reason
  const timedOut = reason instanceof Error && reason.name === 'TimeoutError'
  return new FeedmeshError(timedOut ? 'TIMEOUT' : 'ABORTED', `${what}: ${timedOut ? 'no answer in time' : 'stopped'}`, {
    cause: reason,
  })
}

/** Why no stream could be opened on a connection that seemed to be open. */
export function openStreamError(error: unknown, peerId: string, protocol: string): FeedmeshError {
  const name = error instanceof Error ? error.name : ''
  switch (name) {
    case 'UnsupportedProtocolError':
      return new FeedmeshError(
        'PEER_INVALID',
        `${peerId} does not speak ${protocol}; it may run another version of Feedmesh`,
        { cause: error },
      )
    case 'TooManyOutboundProtocolStreamsError':
      return new FeedmeshError('BUSY', `too many streams of ${protocol} are open to ${peerId}`, { cause: error })
    case 'TimeoutError':
    case 'AbortError':
      return new FeedmeshError('TIMEOUT', `${peerId} did not answer to ${protocol} in time`, { cause: error })
    default:
      return new FeedmeshError(
        'PEER_UNREACHABLE',
        `the connection to ${peerId} failed while opening ${protocol}: ${describeDialError(error)}`,
        { cause: error },
      )
  }
}
