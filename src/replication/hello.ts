/** The first exchange on every stream of the link protocol, the same for both ends. */

import { ANNOUNCE_PROTOCOL } from '../../protocols/mesh/announce/messages.ts'
import { BLOB_PROTOCOL } from '../../protocols/mesh/blob/messages.ts'
import { type Hello, LINK_PROTOCOL } from '../../protocols/mesh/link/messages.ts'
import { NEARBY_PROTOCOL } from '../../protocols/mesh/nearby/messages.ts'
import { SYNC_PROTOCOL } from '../../protocols/mesh/sync/messages.ts'
import { FeedmeshError } from '../errors.ts'

export const PROTOCOLS = [LINK_PROTOCOL, SYNC_PROTOCOL, BLOB_PROTOCOL, ANNOUNCE_PROTOCOL, NEARBY_PROTOCOL] as const

export interface HelloOptions {
  readonly software: string
  /** Random, 16 bytes, one a process. */
  readonly instance: Uint8Array
  readonly site: string
  readonly region: string
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
}

export function createHello(options: HelloOptions): Hello {
  const { software, instance, site, region } = options
  return {
    protocols: PROTOCOLS,
    software,
    capabilities: [],
    clock: options.now(),
    instance,
    nonce: options.randomBytes(32),
    site,
    region,
  }
}

/** @throws PEER_INVALID when the two ends have no protocol version in common */
export function verifyCommonProtocols(hello: Hello): void {
  const missing = PROTOCOLS.filter((protocol) => !hello.protocols.includes(protocol))
  if (missing.length > 0) {
    throw new FeedmeshError(
      'PEER_INVALID',
      `the other node (${hello.software}) does not speak ${missing.join(', ')}; update the older of the two`,
    )
  }
}
