/**
 * The directory over libp2p's Kademlia, under a protocol name of our own. Every node that has it on answers the others. It is
 * loaded only where it is on. What strangers can make this node hold, read or do is bounded here: the library bounds little.
 */

import type { Libp2p, PeerId, PeerInfo, PeerStore, Stream, StreamHandler } from '@libp2p/interface'
import { peerDiscoverySymbol } from '@libp2p/interface'
import { type KadDHT, type KadDHTComponents, kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { FeedmeshError } from '../errors.ts'
import { MAX_ADDRESSES } from './address-book.ts'
import { BoundedDatastore } from './bounded-datastore.ts'
import { abortError } from './dial-errors.ts'
import type { FeedDirectory, FindOptions, FoundPeer } from './feed-directory.ts'

export const KAD_PROTOCOL = '/feedmesh/kad/1.0.0'
const HOUR_MS = 3_600_000
/** Announcements are repeated twice as often. */
const VALIDITY_MS = 24 * HOUR_MS
/** An announcement is found with its addresses for as long as it is valid. */
const ADDRESS_AGE_MS = VALIDITY_MS + 2 * HOUR_MS
/** Of one answer, and of all that is asked on one stream. Twenty peers with sixteen addresses each are 15 KB. */
const MAX_ANSWER_BYTES = 256 * 1024
const MAX_ASKED_BYTES = 64 * 1024
/** Peers that others tell of are remembered, so many at once and then one a second. */
const MAX_TOLD_PEERS = 256
/** Contacts that wait to be tried. */
const MAX_WAITING_CONTACTS = 64
const RAW = 0x55
const SHA2_256 = 0x12

export interface KadDirectoryOptions {
  /** This node's own. */
  readonly peerId: PeerId
  readonly elapsedMs: () => number
}

export class KadDirectory implements FeedDirectory {
  readonly #options: KadDirectoryOptions
  readonly #connected = new Set<string>()
  readonly #datastore: BoundedDatastore
  readonly #mayRemember: () => boolean
  #dht: KadDHT | undefined

  constructor(options: KadDirectoryOptions) {
    this.#options = options
    const own = `/${options.peerId.toCID().toString()}`
    this.#datastore = new BoundedDatastore((name) => name.endsWith(own))
    this.#mayRemember = createBudget(MAX_TOLD_PEERS, options.elapsedMs)
  }

  /** What a node needs for it. */
  nodeParts() {
    return {
      datastore: this.#datastore,
      peerStore: { maxAddressAge: ADDRESS_AGE_MS, maxPeerAge: ADDRESS_AGE_MS },
      services: {
        ping: ping({ protocolPrefix: 'feedmesh', maxInboundStreams: 2, maxOutboundStreams: 2 }),
        dht: (components: KadDHTComponents) => this.#create(components),
      },
    }
  }

  /** From here on it knows which connected peers take part. */
  async watch(node: Libp2p): Promise<void> {
    await node.register(KAD_PROTOCOL, {
      onConnect: (peer) => {
        this.#connected.add(peer.toString())
      },
      onDisconnect: (peer) => {
        this.#connected.delete(peer.toString())
      },
    })
  }

  get nodes(): number {
    return this.#connected.size
  }

  async announce(key: Uint8Array, signal: AbortSignal): Promise<void> {
    let taken = 0
    try {
      for await (const event of this.#running.provide(cidOf(key), { signal }))
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') taken += 1
    } catch (error) {
      throw directoryError(error, signal, 'announcing in the directory')
    }
    if (taken === 0) throw new FeedmeshError('PEER_UNREACHABLE', 'no other node of the directory took the announcement')
  }

  async withdraw(key: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#running.cancelReprovide(cidOf(key), { signal })
  }

  async *find(key: Uint8Array, { signal, max }: FindOptions): AsyncIterable<FoundPeer> {
    const seen = new Set([this.#options.peerId.toString()])
    let found = 0
    try {
      for await (const event of this.#running.findProviders(cidOf(key), { signal })) {
        const told = event.name === 'PROVIDER' ? event.providers : []
        const fresh = [...new Map(told.map((peer) => [peer.id.toString(), peer.multiaddrs]))]
          .filter(([peerId]) => !seen.has(peerId))
          .slice(0, max - found)
        for (const [peerId, addresses] of fresh) {
          seen.add(peerId)
          yield { peerId, addresses: addresses.slice(0, MAX_ADDRESSES).map((address) => address.toString()) }
        }
        found += fresh.length
        if (found >= max) return
      }
    } catch (error) {
      throw directoryError(error, signal, 'searching the directory')
    }
  }

  get #running(): KadDHT {
    if (this.#dht === undefined) throw new FeedmeshError('INTERNAL', 'the directory is used before the node is made')
    return this.#dht
  }

  #create(components: KadDHTComponents): KadDHT {
    const create = kadDHT({
      protocol: KAD_PROTOCOL,
      clientMode: false,
      // The usual one leaves private addresses out, and with them every node of a company's network.
      peerInfoMapper: passthroughMapper,
      alpha: 3,
      // At most 160 contacts.
      prefixLength: 3,
      maxInboundStreams: 8,
      maxOutboundStreams: 16,
      initialQuerySelfInterval: 200,
      routingTableUpdateQueueConcurrency: 4,
      routingTableUpdateMaxQueueSize: MAX_WAITING_CONTACTS,
      networkDialTimeout: { minTimeout: 2000, maxTimeout: 10_000 },
      // Whoever announces says it again itself, as long as there is a reason to.
      reprovide: { validity: VALIDITY_MS, threshold: 0, interval: HOUR_MS, concurrency: 1, maxQueueSize: 128 },
    })
    const dht = create(guard(components))
    this.#rememberTold(dht, components)
    this.#dht = dht
    return dht
  }

  /** In place of libp2p's own way, which remembers all that anybody tells. */
  #rememberTold(dht: KadDHT, { peerStore, logger }: KadDHTComponents): void {
    const log = logger.forComponent('feedmesh:directory')
    const { [peerDiscoverySymbol]: told } = dht as KadDHT & Readonly<Record<typeof peerDiscoverySymbol, EventTarget>>
    Object.defineProperty(dht, peerDiscoverySymbol, { value: undefined })
    told.addEventListener('peer', (event) => {
      const { detail } = event as CustomEvent<PeerInfo>
      if (detail.id.equals(this.#options.peerId) || !this.#mayRemember()) return
      peerStore.merge(detail.id, { multiaddrs: detail.multiaddrs.slice(0, MAX_ADDRESSES) }).catch((error: unknown) => {
        log.error('a peer that was told of is not remembered - %e', error)
      })
    })
  }
}

/** Takes so many peers at once, then one a second; peers told again count again. */
function createBudget(max: number, elapsedMs: () => number): () => boolean {
  let left = max
  let atMs = elapsedMs()
  return () => {
    const now = elapsedMs()
    left = Math.min(max, left + (now - atMs) / 1000)
    atMs = now
    if (left < 1) return false
    left -= 1
    return true
  }
}

/** What the library sees of the node: every stream has a limit of bytes. */
function guard(components: KadDHTComponents): KadDHTComponents {
  const { peerId, privateKey, registrar, connectionManager, peerStore } = components
  const { addressManager, datastore, events, logger, ping: pinger } = components
  return {
    peerId,
    privateKey,
    addressManager,
    datastore,
    events,
    logger,
    ping: pinger,
    peerStore: overlay(peerStore, { get: (peer, options) => getOrEmpty(peerStore, peer, options) }),
    registrar: overlay(registrar, {
      handle: (protocol, handler, options) => registrar.handle(protocol, limitAsked(handler), options),
    }),
    connectionManager: overlay(connectionManager, {
      openStream: async (peer, protocol, options) =>
        limitBytes(await connectionManager.openStream(peer, protocol, options), MAX_ANSWER_BYTES),
    }),
  }
}

function overlay<Part extends object>(part: Part, own: Partial<Part>): Part {
  return new Proxy(part, {
    get: (target, name) => {
      const value: unknown = Reflect.get(Object.hasOwn(own, name) ? own : target, name)
      return typeof value === 'function' ? (value.bind(Object.hasOwn(own, name) ? own : target) as unknown) : value
    },
  })
}

/** One that announced something and was forgotten would otherwise make every answer about that fail. */
async function getOrEmpty(peers: PeerStore, peer: PeerId, options: Parameters<PeerStore['get']>[1]) {
  try {
    return await peers.get(peer, options)
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'NotFoundError') throw error
    return { id: peer, addresses: [], protocols: [], metadata: new Map(), tags: new Map() }
  }
}

function limitAsked(handler: StreamHandler): StreamHandler {
  return (stream, connection) => handler(limitBytes(stream, MAX_ASKED_BYTES), connection)
}

function limitBytes(stream: Stream, maxBytes: number): Stream {
  let left = maxBytes
  stream.addEventListener('message', ({ data }) => {
    left -= data.byteLength
    if (left < 0) stream.abort(new FeedmeshError('PEER_INVALID', `more than ${maxBytes} bytes for the directory`))
  })
  return stream
}

function cidOf(key: Uint8Array): CID {
  return CID.createV1(RAW, createMultihash(SHA2_256, key))
}

function directoryError(error: unknown, signal: AbortSignal, what: string): FeedmeshError {
  if (signal.aborted) return abortError(signal, what)
  const why = error instanceof Error ? error.message : String(error)
  return new FeedmeshError('PEER_UNREACHABLE', `${what}: ${why}`, { cause: error })
}
