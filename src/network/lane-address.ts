/** Where a bulk lane listens, and where it is looked for. */

import { FeedmeshError } from '../errors.ts'
import type { LaneAddress } from './lane-listener.ts'
import { parseAddress } from './libp2p-node.ts'

export interface LaneListen extends LaneAddress {
  /** Nobody has chosen the port: when it is taken another one will do. */
  readonly anyPort: boolean
}

/** `HOST:PORT` with IPv6 in brackets. @throws BAD_INPUT */
export function parseHostAndPort(text: string): LaneAddress {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:/\s[\]]+)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host !== undefined && port <= 65_535) return { host, port }
  throw new FeedmeshError('BAD_INPUT', `not HOST:PORT: ${JSON.stringify(text.slice(0, 160))}`)
}

export function renderHostAndPort({ host, port }: LaneAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Host and TCP port of a multiaddr; undefined for what is none of TCP, or no address at all. */
export function findHostAndPort(address: string): LaneAddress | undefined {
  const [first, second] = parseAddress(address).getComponents()
  if (first?.value === undefined || second?.name !== 'tcp') return undefined
  if (!['ip4', 'ip6', 'dns', 'dns4', 'dns6'].includes(first.name)) return undefined
  return { host: first.value, port: Number(second.value) }
}

/**
 * Where the lane listens: `bulk` if it says so; with `auto` at the host and next to the port of the first address in
 * `listen`, or at a free port where that is 0. undefined: nowhere. @throws BAD_INPUT
 */
export function chooseLaneAddress(bulk: string | null, listen: readonly string[]): LaneListen | undefined {
  if (bulk === null) return undefined
  if (bulk !== 'auto') return { ...parseHostAndPort(bulk), anyPort: false }
  const beside = listen.map((address) => findHostAndPort(address)).find((found) => found !== undefined)
  if (beside === undefined) return undefined
  const { host, port } = beside
  return { host, port: port === 0 || port === 65_535 ? 0 : port + 1, anyPort: true }
}
