/**
 * A small mesh that things happen to: a hub, a secondary hub that pulls from it, a spoke of each. Real ledger, sync, policy
 * and stores over memory; network, disk and clock are the test's.
 */

import assert from 'node:assert/strict'
import type { SyncReply } from '../../protocols/mesh/sync/messages.ts'
import { decodeSegment, encodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { MemoryFloor } from '../../src/ledger/floor.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records, Write } from '../../src/store/records.ts'
import { auditStores } from '../support/audit-data.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { createRandom, type Random } from './random.ts'

const FEED = 'packages'
/** The hub, the secondary hub behind it, a spoke of each. */
const NAMES = ['hub', 'secondary', 'near', 'far'] as const
type Name = (typeof NAMES)[number]
const UPSTREAM: Readonly<Record<Exclude<Name, 'hub'>, Name>> = { secondary: 'hub', near: 'hub', far: 'secondary' }

/** A record store that fails writes while it is told to: nothing of a failed write is stored. */
class Disk implements Records {
  readonly #records = createMemoryRecords()
  failures = 0

  find(key: Uint8Array) {
    return this.#records.find(key)
  }
  findMany(keys: readonly Uint8Array[]) {
    return this.#records.findMany(keys)
  }
  scan(options: Parameters<Records['scan']>[0]) {
    return this.#records.scan(options)
  }
  scanKeys(options: Parameters<Records['scanKeys']>[0]) {
    return this.#records.scanKeys(options)
  }
  async write(writes: readonly Write[]): Promise<void> {
    if (this.failures > 0) {
      this.failures -= 1
      throw new FeedmeshError('STORAGE_FULL', 'no space left on the simulated disk')
    }
    await this.#records.write(writes)
  }
  clear(range: Parameters<Records['clear']>[0]) {
    return this.#records.clear(range)
  }
  [Symbol.asyncDispose]() {
    return this.#records[Symbol.asyncDispose]()
  }
}

interface Place {
  readonly identity: Identity
  readonly disk: Disk
  readonly blobs: BlobStore
  readonly floor: MemoryFloor
  node: MeshNode
  replication: string
  /** Highest (epoch, seq) of the hub's feed ever seen here. */
  highest: number
}

export class World implements AsyncDisposable {
  readonly random: Random
  readonly clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  readonly #network: MemoryNetwork
  readonly #places = new Map<Name, Place>()
  /** What the hub acknowledged: unit → key → content, undefined once it was dropped. */
  readonly #acknowledged = new Map<string, Map<string, string | undefined>>()
  /** Every state root that the hub signed. */
  readonly #signed = new Set<string>()
  #hubFeedId = ''
  #counter = 0
  readonly counts = new Map<string, number>()

  private constructor(seed: number) {
    this.random = createRandom(seed)
    this.#network = createMemoryNetwork({ now: () => this.clock.now })
  }

  static async create(seed: number): Promise<World> {
    const world = new World(seed)
    for (const name of NAMES) await world.#add(name)
    const hub = world.#place('hub').node
    world.#hubFeedId = hub.ledger.registry.getLocal(FEED).id
    world.#watchHub()
    for (const name of ['secondary', 'near', 'far'] as const) {
      const upstream = world.#place(UPSTREAM[name]).node
      const { token } = await upstream.accept({ feed: FEED, mode: 'push' })
      world.#place(name).replication = await world.#place(name).node.link(upstream, token, { feed: FEED, mode: 'pull' })
    }
    return world
  }

  async #add(name: Name): Promise<void> {
    const disk = new Disk()
    const blobs = createMemoryBlobs({ records: disk, now: () => this.clock.now })
    const identity = generateIdentity()
    const floor = new MemoryFloor()
    const node = await openMeshNode(this.#network, { identity, records: disk, blobs, floor, clock: this.clock })
    await node.createFeed(FEED)
    this.#places.set(name, { identity, disk, blobs, floor, node, replication: '', highest: 0 })
  }

  #place(name: Name): Place {
    const place = this.#places.get(name)
    assert.ok(place)
    return place
  }

  #watchHub(): void {
    const { ledger } = this.#place('hub').node
    const note = () => this.#signed.add(ledger.registry.getState(this.#hubFeedId).root.hash.toString('hex'))
    note()
    ledger.onChange(note)
  }

  #count(event: string): void {
    this.counts.set(event, (this.counts.get(event) ?? 0) + 1)
  }

  /** One random thing happens; then nothing may be wrong anywhere. */
  async step(): Promise<void> {
    const event = this.random.pick(EVENTS)
    this.#count(event)
    await this.#happen(event)
    await this.verifySafety()
  }

  async #happen(event: Event): Promise<void> {
    this.clock.now += this.random.below(60_000)
    switch (event) {
      case 'publish':
        return await this.#publish()
      case 'tag':
        return await this.#tag()
      case 'burn':
        return await this.#burn()
      case 'pull':
        await this.#pull(this.#anySpoke())
        return
      case 'race':
        await Promise.all([
          this.#publish(),
          this.#pull('near'),
          this.#pull('secondary'),
          this.#pull('far'),
          this.#tag(),
        ])
        return
      case 'cut':
        return this.#network.cut(...this.#anyPair())
      case 'heal':
        return this.#network.heal(...this.#anyPair())
      case 'restart':
        return await this.#restart(this.random.pick(NAMES))
      case 'full disk':
        this.#place(this.random.pick(NAMES)).disk.failures = 1 + this.random.below(3)
        return
      case 'lie':
        return await this.#pullFromLiar(this.#anySpoke())
      case 'publish on a spoke':
        return await this.#publishOn(this.#anySpoke())
    }
  }

  #anySpoke(): Exclude<Name, 'hub'> {
    return this.random.pick(['secondary', 'near', 'far'] as const)
  }

  #anyPair(): [string, string] {
    const name = this.#anySpoke()
    return [this.#place(name).identity.peerId, this.#place(UPSTREAM[name]).identity.peerId]
  }

  #feed(name: Name): LedgerFeed {
    const { node, blobs } = this.#place(name)
    const fetchBlob = async (): Promise<never> => {
      throw new FeedmeshError('NOT_FOUND', 'not here')
    }
    return new LedgerFeed({
      name: FEED,
      feedId: node.ledger.registry.getLocal(FEED).id,
      ledger: node.ledger,
      blobs,
      fetchBlob,
    })
  }

  async #publish(): Promise<void> {
    this.#counter += 1
    const unit = `unit-${this.random.below(12)}`
    const key = `v/${this.#counter}`
    const content = this.random.bytes(this.random.below(8) === 0 ? 70_000 : 50)
    await this.#acknowledge(unit, key, content.toString('base64'), () =>
      publishVersion(this.#feed('hub'), unit, key, content),
    )
  }

  async #tag(): Promise<void> {
    const unit = `unit-${this.random.below(12)}`
    const meta = Buffer.from(`${this.random.below(1000)}`)
    await this.#acknowledge(unit, 'tag/latest', meta.toString(), () =>
      this.#feed('hub').change(unit, () => ({ put: [{ key: 'tag/latest', rowClass: 'register', meta, files: [] }] })),
    )
  }

  async #burn(): Promise<void> {
    const unit = `unit-${this.random.below(12)}`
    const key = [...(this.#acknowledged.get(unit) ?? [])].find(
      ([name, content]) => name.startsWith('v/') && content !== 'burned',
    )?.[0]
    if (key === undefined) return
    await this.#acknowledge(unit, key, 'burned', () =>
      this.#feed('hub').change(unit, () => ({ put: [{ key, rowClass: 'burn', meta: new Uint8Array(0), files: [] }] })),
    )
  }

  /** Takes note of a change only if it was acknowledged. A refusal for want of space is the disk's right. */
  async #acknowledge(unit: string, key: string, content: string, change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      assert.ok(isFeedmeshError(error, 'STORAGE_FULL'), String(error))
      return
    }
    const keys = this.#acknowledged.get(unit) ?? new Map<string, string | undefined>()
    this.#acknowledged.set(unit, keys.set(key, content))
  }

  /** What a spoke publishes itself is its own and never moves up. */
  async #publishOn(name: Name): Promise<void> {
    this.#counter += 1
    try {
      await publishVersion(this.#feed(name), `own-${name}`, `v/${this.#counter}`, Buffer.from(name))
    } catch (error) {
      assert.ok(isFeedmeshError(error, 'STORAGE_FULL'), String(error))
    }
  }

  async #pull(name: Exclude<Name, 'hub'>): Promise<string> {
    const { node, replication } = this.#place(name)
    try {
      return (await node.pull(replication)).state
    } catch (error) {
      assert.ok(isFeedmeshError(error, 'STORAGE_FULL', 'PEER_UNREACHABLE', 'ABORTED'), String(error))
      return 'failed'
    }
  }

  /** The upstream node answers with bytes that were tampered with: whatever happens, nothing of it is adopted. */
  async #pullFromLiar(name: Exclude<Name, 'hub'>): Promise<void> {
    await this.#publish()
    await this.#tag()
    if (name === 'far') await this.#pull('secondary')
    const upstream = this.#place(UPSTREAM[name]).node
    const honest = upstream.answerSync
    const { random } = this
    upstream.answerSync = async function* (source, request) {
      for await (const reply of honest(source, request)) yield random.below(2) === 0 ? tamper(reply, random) : reply
    }
    await this.#pull(name)
    upstream.answerSync = honest
  }

  async #restart(name: Name): Promise<void> {
    const place = this.#place(name)
    await place.node[Symbol.asyncDispose]()
    place.disk.failures = 0
    const { identity, disk, blobs, floor } = place
    place.node = await openMeshNode(this.#network, { identity, records: disk, blobs, floor, clock: this.clock })
    for (const replication of place.node.book.replications.all())
      place.node.replication.replicator.keepConnected(replication)
    if (name === 'hub') this.#watchHub()
  }

  async verifySafety(): Promise<void> {
    for (const [name, place] of this.#places) {
      await auditStores(place.node.ledger.registry, place.blobs)
      const state = place.node.ledger.registry.states.get(this.#hubFeedId)
      if (state?.manifest === undefined) continue
      assert.ok(this.#signed.has(state.root.hash.toString('hex')), `${name} shows a state that the hub never signed`)
      const order = state.manifest.value.epoch * 1e9 + state.manifest.value.seq
      assert.ok(order >= place.highest, `${name} went back from ${place.highest} to ${order}`)
      place.highest = order
    }
    await this.#verifyAcknowledged()
  }

  async #verifyAcknowledged(): Promise<void> {
    const feed = this.#feed('hub')
    for (const [unit, keys] of this.#acknowledged) {
      const rows = new Map((await feed.findUnit(unit))?.rows.map((row) => [row.key, row]))
      for (const [key, content] of keys) {
        const row = rows.get(key)
        assert.ok(row, `${unit} ${key} was acknowledged and is gone`)
        if (content === 'burned') assert.equal(row.rowClass, 'burn', `${unit} ${key} was burned and is back`)
        else if (key === 'tag/latest') assert.equal(Buffer.from(await feed.readMeta(row)).toString(), content)
      }
    }
  }

  /** Everything heals; two rounds later all hold the same. */
  async settle(): Promise<void> {
    for (const place of this.#places.values()) place.disk.failures = 0
    for (const name of ['secondary', 'near', 'far'] as const) {
      this.#network.heal(this.#place(name).identity.peerId, this.#place(UPSTREAM[name]).identity.peerId)
    }
    for (const name of ['secondary', 'near', 'far'] as const)
      assert.equal(await this.#pull(name), 'succeeded', `${name} does not recover`)
    const roots = [...this.#places].map(([name, { node }]) => [
      name,
      node.ledger.registry.states.get(this.#hubFeedId)?.root.hash.toString('hex'),
    ])
    assert.equal(new Set(roots.map(([, root]) => root)).size, 1, JSON.stringify(roots))
    await this.verifySafety()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const place of this.#places.values()) await place.node[Symbol.asyncDispose]()
  }
}

const EVENTS = [
  'publish',
  'publish',
  'publish',
  'tag',
  'burn',
  'pull',
  'pull',
  'pull',
  'race',
  'cut',
  'heal',
  'heal',
  'restart',
  'full disk',
  'lie',
  'publish on a spoke',
] as const
type Event = (typeof EVENTS)[number]

function flipBit(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = Buffer.from(bytes)
  if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
  return copy
}

/** Well-formed lies: a row or operation is left out, sent twice, or one of its bits is flipped. */
function tamperItems(items: readonly Uint8Array[], random: Random): Uint8Array[] {
  const at = random.below(Math.max(1, items.length))
  const item = items[at]
  if (item === undefined) return [...items]
  return items.toSpliced(
    at,
    1,
    ...random.pick([[], [item, item], [flipBit(item, random)], [flipBit(item, random)], [flipBit(item, random)]]),
  )
}

function tamper(reply: SyncReply, random: Random): SyncReply {
  if (reply.kind === 'segment') return { ...reply, ...encodeSegment(tamperItems(decodeSegment(reply), random)) }
  if (reply.kind === 'nodes') return { ...reply, nodes: reply.nodes.map((node) => flipBit(node, random)) }
  if (reply.kind === 'head' && reply.manifest !== null) return { ...reply, manifest: flipBit(reply.manifest, random) }
  return reply
}
