/** Finds a node by its base URL: `/.well-known/feedmesh` tells PeerId and addresses. Whoever answers must prove the PeerId when it is dialled. */

import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { FeedmeshError } from '../errors.ts'
import { redactUrl } from '../log.ts'

export interface NodeAddress {
  readonly peerId: string
  /** Multiaddrs. */
  readonly addresses: readonly string[]
}

const MAX_BODY_BYTES = 64 * 1024
const MAX_ADDRESSES = 32

/** @throws BAD_INPUT for what is not an http(s) URL */
export function parseBaseUrl(text: string): URL {
  const url = URL.parse(text.trim())
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `not a base URL: ${redactUrl(text.slice(0, 200))}; it looks like https://hub.example.net:8624`,
    )
  }
  return url
}

async function readBounded(response: Response): Promise<string> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of response.body ?? []) {
    size += piece.length
    if (size > MAX_BODY_BYTES) throw new FeedmeshError('NOT_A_NODE', 'the answer is larger than that of any node')
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

function parseAnswer(json: string, where: string): NodeAddress {
  const notANode = (why: string) =>
    new FeedmeshError('NOT_A_NODE', `what answers at ${where} is not a Feedmesh node (${why}); check the base URL`)
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw notANode('its answer is not JSON')
  }
  const { peerId, addresses } = (value ?? {}) as { peerId?: unknown; addresses?: unknown }
  if (typeof peerId !== 'string') throw notANode('it names no PeerId')
  try {
    publicKeyFromPeerId(peerId)
  } catch {
    throw notANode('what it names is no PeerId')
  }
  const listed = Array.isArray(addresses)
    ? addresses.filter((address): address is string => typeof address === 'string' && address.length <= 256)
    : []
  if (listed.length === 0) throw notANode('it names no addresses')
  return { peerId, addresses: listed.slice(0, MAX_ADDRESSES) }
}

/** `signal` limits the time, redirects are not followed. @throws PEER_UNREACHABLE, NOT_A_NODE, BAD_INPUT */
export async function findNode(baseUrl: string, signal: AbortSignal): Promise<NodeAddress> {
  const base = parseBaseUrl(baseUrl)
  const where = redactUrl(base.origin)
  let response: Response
  try {
    response = await fetch(new URL('/.well-known/feedmesh', base), {
      signal,
      redirect: 'error',
      headers: { accept: 'application/json' },
    })
  } catch (cause) {
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause)
    throw new FeedmeshError(
      'PEER_UNREACHABLE',
      `nothing answers at ${where} (${reason}); check the base URL and that the other node runs`,
      { cause },
    )
  }
  if (!response.ok) {
    await response.body?.cancel()
    throw new FeedmeshError(
      'NOT_A_NODE',
      `what answers at ${where} is not a Feedmesh node (HTTP ${response.status}); check the base URL`,
    )
  }
  return parseAnswer(await readBounded(response), where)
}
