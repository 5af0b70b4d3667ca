/** The libp2p node below the host: every option that keeps one of libp2p's measured traps shut is set here. */

import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Libp2p, Listener, PrivateKey } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { FeedmeshError } from '../errors.ts'
import { dialable } from './dialable.ts'
import type { FeedDirectory } from './feed-directory.ts'
import type { Identity } from './identity.ts'
import { elapsedMs } from './timers.ts'

/** Replaces libp2p's `ipfs` in the protocol names, so that foreign nodes do not take this for one of theirs. */
const PROTOCOL_PREFIX = 'feedmesh'
/**
 * Largest receive window of a stream. 4 MiB carry 27 MB/s at 150 ms, which is also what Linux lets one TCP connection have
 * by default. A slow reader makes this end hold at most twice as much: what waits inside the stream, and a new window.
 */
export const MAX_STREAM_WINDOW_BYTES = 4 * 1024 * 1024

export interface NodeOptions {
  readonly identity: Identity
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  readonly maxConnections: number
  /** Whether the node takes part in the directory. */
  readonly dht?: boolean
}

export interface ListeningNode {
  readonly node: Libp2p
  /** Addresses others can dial, wildcard ones expanded to those of the interfaces, without `/p2p/`. */
  listenAddresses(): readonly Multiaddr[]
  readonly directory: FeedDirectory | undefined
}

/** Starts a node. @throws BAD_INPUT an address is not one, or cannot be listened on */
export async function openNode(options: NodeOptions): Promise<ListeningNode> {
  const { identity, listen, announce, maxConnections, dht = false } = options
  for (const address of [...listen, ...announce]) parseAddress(address)
  const privateKey = privateKeyFromProtobuf(identity.exportProtobuf())
  // libp2p's own list leaves out public addresses until a stranger has confirmed them.
  const listeners: Listener[] = []
  const listenAddresses = () => listeners.flatMap((listener) => listener.getAddrs())
  const kad = dht ? await createDirectory(privateKey) : undefined
  const { services = {}, ...parts } = kad?.nodeParts() ?? {}
  const node = await createLibp2p({
    ...parts,
    start: false,
    privateKey,
    addresses: {
      listen: [...listen],
      announce: [...announce],
      // What the directory and identify tell of this node.
      ...(kad === undefined || announce.length > 0 ? {} : { announceFilter: () => outward(listenAddresses()) }),
    },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        // Keep-alive is also what measures the round trip that lets windows grow.
        enableKeepAlive: true,
        maxInboundStreams: 512,
        maxOutboundStreams: 512,
        maxEarlyStreams: 64,
        // At the top level these would be ignored. The initial window is not negotiated, so it stays as it is.
        streamOptions: {
          maxStreamWindowSize: MAX_STREAM_WINDOW_BYTES,
          maxReadBufferLength: MAX_STREAM_WINDOW_BYTES + 1024 * 1024,
        },
      }),
    ],
    connectionManager: {
      maxConnections,
      // The default of 5 a second from one host locks out sites behind one NAT.
      inboundConnectionThreshold: 100,
      maxIncomingPendingConnections: 100,
      addressDialTimeout: 6000,
      reconnectRetries: 0,
    },
    // It pings behind bulk data and drops the connection for it; PeerProbe watches connections instead.
    connectionMonitor: { enabled: false, abortConnectionOnPingFailure: false },
    services: {
      // Answers who asks. It asks only for the directory: else what it would tell is in our own hellos, and costs a
      // connection 1.4 KB.
      identify: identify({ protocolPrefix: PROTOCOL_PREFIX, runOnConnectionOpen: dht }),
      ...services,
    },
    nodeInfo: { name: 'feedmesh', version: '', userAgent: 'feedmesh' },
  })
  node.addEventListener('transport:listening', ({ detail }) => {
    listeners.push(detail)
  })
  try {
    await kad?.watch(node)
    await node.start()
  } catch (error) {
    await node.stop()
    throw cannotListen(listen, error)
  }
  return { node, listenAddresses, directory: kad }
}

/** Loaded only where it is on. */
async function createDirectory(privateKey: PrivateKey) {
  const { KadDirectory } = await import('./kad-directory.ts')
  return new KadDirectory({ peerId: peerIdFromPrivateKey(privateKey), elapsedMs })
}

/** Loopback ones only when there is nothing else. */
function outward(addresses: readonly Multiaddr[]): Multiaddr[] {
  return dialable(addresses.map((address) => address.toString())).map((address) => multiaddr(address))
}

/** @throws BAD_INPUT */
export function parseAddress(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (error) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `not an address: ${JSON.stringify(address.slice(0, 160))}; expected for example /ip4/192.0.2.1/tcp/4001`,
      { cause: error },
    )
  }
}

function cannotListen(listen: readonly string[], error: unknown): FeedmeshError {
  const text = error instanceof Error ? error.message : String(error)
  const why = text.includes('EADDRINUSE') ? 'another program uses the port; stop it or choose another port' : text
  return new FeedmeshError('BAD_INPUT', `cannot listen on ${listen.join(', ')}: ${why}`, { cause: error })
}
