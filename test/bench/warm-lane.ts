/** How many round trips 4 MiB take on a bulk lane that is open, at a round trip of 300 ms. */

import { createLog } from '../../src/log.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { type ListeningMeshHost, openLibp2pHost } from '../../src/network/libp2p-host.ts'
import { type Finding, formatNumber } from './findings.ts'
import { meshPort } from './linked-pair.ts'
import { medianOf, spreadOf } from './samples.ts'
import { WireProxy } from './wire-proxy.ts'

const PROTOCOL = '/feedmesh/bench/1'
const BYTES = 4 * 1024 * 1024
const RTT_MS = 300
const ROUNDS = 5
const LIMITS = { maxInboundStreams: 8, maxDurationMs: 60_000, bulk: true }
const never = new AbortController().signal

function openHost(): Promise<ListeningMeshHost> {
  return openLibp2pHost({
    identity: generateIdentity(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    bulk: 'auto',
    log: createLog('warn'),
  })
}

/** Opens a channel, asks, and takes the answer. @returns ms */
async function fetchOnce(near: ListeningMeshHost, far: ListeningMeshHost): Promise<number> {
  const start = performance.now()
  const channel = await near.open(far.peerId, PROTOCOL, never)
  await channel.send(Buffer.from('?'))
  let bytes = 0
  for await (const piece of channel.receive()) {
    bytes += piece.length
    if (bytes === BYTES) break
  }
  const elapsed = performance.now() - start
  await channel.end()
  // The connection is free again when the other end has ended, too.
  await new Promise((resolve) => setTimeout(resolve, RTT_MS * 2))
  return elapsed
}

/** Proxies at `host` with the ports of the host's own. */
async function openProxies(far: ListeningMeshHost, host: string): Promise<WireProxy[]> {
  const ports = [meshPort({ listen: far.addresses() }), Number(far.bulk?.split(':').at(-1))]
  return await Promise.all(
    ports.map(async (port) => {
      const proxy = await WireProxy.open({ host, port })
      proxy.setTarget('127.0.0.1', port)
      return proxy
    }),
  )
}

export async function measureWarmLane(farHost: string): Promise<Finding> {
  await using near = await openHost()
  await using far = await openHost()
  await using stack = new AsyncDisposableStack()
  const proxies = await openProxies(far, farHost)
  for (const proxy of proxies) stack.use(proxy)
  const answer = Buffer.alloc(BYTES)
  for (const host of [near, far])
    await host.handle(PROTOCOL, LIMITS, async (channel) => {
      await channel.receive()[Symbol.asyncIterator]().next()
      await channel.send(answer)
    })
  const address = `/ip4/${farHost}/tcp/${meshPort({ listen: far.addresses() })}/p2p/${far.peerId}`
  await near.connect(far.peerId, [address], never)
  await fetchOnce(near, far)
  const wire = await fetchOnce(near, far)
  for (const proxy of proxies) proxy.delayMs = RTT_MS / 2
  const samples: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) samples.push((await fetchOnce(near, far)) - wire)
  const roundTrips = medianOf(samples) / RTT_MS
  return {
    what: '4 MiB on a warm lane at 300 ms RTT',
    ours: `${formatNumber(roundTrips)} round trips`,
    peer: '2 round trips',
    ratio: roundTrips / 2,
    target: { atMost: 1 },
    spread: spreadOf(samples),
    note: `beyond the ${formatNumber(wire)} ms that it takes without delay`,
  }
}
