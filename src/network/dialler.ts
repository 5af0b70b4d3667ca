/** Dials the addresses of a peer one after the other and says of each why it failed. */

import type { Connection, Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { FeedmeshError } from '../errors.ts'
import { MAX_ADDRESSES } from './address-book.ts'
import { abortError, describeDialError } from './dial-errors.ts'
import { parseAddress } from './libp2p-node.ts'

/** TCP connect and both handshakes to one address. */
const ADDRESS_TIMEOUT_MS = 6000

/** @throws PEER_UNREACHABLE naming each address and why; what `signal` was aborted with */
export async function dialPeer(
  node: Libp2p,
  peerId: string,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<Connection> {
  if (addresses.length === 0) {
    throw new FeedmeshError('PEER_UNREACHABLE', `no address of ${peerId} is known`)
  }
  const failures: string[] = []
  for (const address of addresses.slice(0, MAX_ADDRESSES)) {
    try {
      return await dialAddress(node, peerId, address, signal)
    } catch (error) {
      if (signal.aborted) throw abortError(signal, `dialling ${peerId} at ${address}`)
      failures.push(`${address}: ${describeDialError(error)}`)
    }
  }
  throw new FeedmeshError('PEER_UNREACHABLE', `${peerId} is not reachable: ${failures.join('; ')}`)
}

async function dialAddress(node: Libp2p, peerId: string, address: string, signal: AbortSignal): Promise<Connection> {
  const parsed = parseAddress(address)
  const named = parsed.getComponents().findLast((component) => component.name === 'p2p')?.value
  if (named !== undefined && named !== peerId) throw new Error(`the address is that of another node, ${named}`)
  const target = named === undefined ? parsed.encapsulate(`/p2p/${peerIdFromString(peerId).toString()}`) : parsed
  const connection = await node.dial(target, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(ADDRESS_TIMEOUT_MS)]),
  })
  if (connection.status !== 'open') throw new Error('it closed the connection at once')
  return connection
}
