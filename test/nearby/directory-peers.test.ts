/** Readers that are found in a directory, between nodes of a memory network: who reads the feed is let in, who does not is not. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { directoryKey } from '../../src/nearby/directory-key.ts'
import type { FeedDirectory, FoundPeer } from '../../src/network/feed-directory.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { publishVersion } from '../support/mesh-node.ts'
import { knows, NEAR_PORTS, NearNodes, nearOf, until } from './near-nodes.ts'

const ACTOR = { name: 'test', from: 'test' } as const

class SharedDirectory implements FeedDirectory {
  readonly nodes = 1
  /** By key, as hex. */
  readonly records = new Map<string, FoundPeer[]>()
  readonly asked = new Set<string>()
  /** Answers wait for it. */
  isReady: Promise<void> = Promise.resolve()
  readonly #own: () => FoundPeer

  constructor(own: () => FoundPeer) {
    this.#own = own
  }

  async announce(key: Uint8Array): Promise<void> {
    this.records.set(Buffer.from(key).toString('hex'), [this.#own()])
  }

  async withdraw(key: Uint8Array): Promise<void> {
    this.records.delete(Buffer.from(key).toString('hex'))
  }

  async *find(key: Uint8Array): AsyncIterable<FoundPeer> {
    const name = Buffer.from(key).toString('hex')
    this.asked.add(name)
    await this.isReady
    yield* this.records.get(name) ?? []
  }
}

function withDirectory(host: MeshHost, directory: FeedDirectory): MeshHost {
  const get = (target: MeshHost, name: string | symbol): unknown => {
    const value: unknown = name === 'directory' ? directory : Reflect.get(target, name)
    return typeof value === 'function' ? (value.bind(target) as unknown) : value
  }
  return new Proxy(host, { get })
}

/** Options of a node with a directory, which is told to `onDirectory`. */
function directoryOptions(site: string, onDirectory: (directory: SharedDirectory) => void) {
  const wrapHost = (host: MeshHost) => {
    const directory = new SharedDirectory(() => ({ peerId: host.peerId, addresses: host.addresses() }))
    onDirectory(directory)
    return withDirectory(host, directory)
  }
  return { place: { site, region: 'eu' }, ports: { ...NEAR_PORTS, wrapHost } }
}

test('without its hub a node finds in the directory who reads the feed, and deals with nobody else there', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack)
  await publishVersion(nodes.hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const directories: SharedDirectory[] = []
  const note = (directory: SharedDirectory) => directories.push(directory)
  const giver = await nodes.addSpoke({ serve: 'any' }, directoryOptions('paris', note))
  const { feedId } = nodes
  const key = directoryKey(feedId, nodes.hub.ledger.registry.getState(feedId).charter.value.salt).toString('hex')
  const [announced] = directories as [SharedDirectory]
  await until(() => announced.records.has(key), 'the announcement')
  assert.deepEqual(announced.records.get(key), [{ peerId: giver.node.peerId, addresses: giver.node.host.addresses() }])
  // What the hub could tell of the giver is not wanted here.
  await giver.node.replication.operations.edit(giver.replication, { serve: 'site' }, ACTOR)
  const seeker = await nodes.addSpoke({ serve: 'any' }, directoryOptions('tokyo', note))
  const asked = directories[1]!
  const ready = Promise.withResolvers<void>()
  asked.isReady = ready.promise
  const stranger = await nodes.openNode()
  nodes.stopHub()
  await giver.node.replication.operations.edit(giver.replication, { serve: 'any' }, ACTOR)
  assert.equal(knows(seeker, feedId, giver.node), false)
  const told = { peerId: stranger.peerId, addresses: stranger.host.addresses() }
  asked.records.set(key, [told, ...(announced.records.get(key) ?? [])])
  ready.resolve()
  await until(() => knows(seeker, feedId, giver.node), 'the one that reads the feed')
  assert.ok(asked.asked.has(key))
  assert.equal(knows(seeker, feedId, stranger), false)
  assert.deepEqual(nearOf(stranger).peersFor(feedId), [])
  assert.equal(stranger.parts.policy.findChainToShow(feedId), undefined)
})
