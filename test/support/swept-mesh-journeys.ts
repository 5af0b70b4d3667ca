/** The journeys of a node and its peer whose every operation fails in turn: link, pull in its three ways, catch up. */

import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import type { SyncReply } from '../../protocols/mesh/sync/messages.ts'
import { FeedmeshError, isErrorCode } from '../../src/errors.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { RESTORED_FACT } from '../../src/replication/catch-up.ts'
import { keys } from '../../src/store/keys.ts'
import { type AnswerSync, type MeshNode, openMeshNode } from './mesh-node.ts'
import { type Journey, LARGE, type Live, type Prepared, publish } from './swept-journeys.ts'
import { type Snapshot, SweptStores } from './swept-stores.ts'

const FEED = 'packages'
const LONG_META = Buffer.alloc(2500, 'meta')

interface Mesh {
  readonly network: MemoryNetwork
  readonly identity: Identity
  readonly clock: { now: number }
}

function createMesh(): Mesh {
  return {
    network: createMemoryNetwork(),
    identity: generateIdentity(),
    clock: { now: Date.parse('2026-01-01T00:00:00Z') },
  }
}

/** The node under test: same identity, each time on another copy of its stores. */
async function openTested(mesh: Mesh, stores: SweptStores): Promise<MeshNode> {
  const { network, identity, clock } = mesh
  const node = await openMeshNode(network, { identity, clock, records: stores.records, blobs: stores.blobs })
  for (const replication of node.book.replications.all()) node.replication.replicator.keepConnected(replication)
  return node
}

async function publishVersions(feed: LedgerFeed, from: number, to: number): Promise<void> {
  for (let number = from; number < to; number += 1) {
    const content = number % 5 === 0 ? Buffer.concat([LARGE, Buffer.from([number])]) : Buffer.alloc(700, number)
    await publish(feed, {
      unit: `unit-${number % 3}`,
      key: `v/${number}`,
      content,
      ...(number % 4 === 0 ? { meta: Buffer.concat([LONG_META, Buffer.from([number])]) } : {}),
    })
  }
}

/** Rows of one kind, so many that the trie has inner nodes. */
async function publishTags(feed: LedgerFeed, text: string): Promise<void> {
  const tag = (number: number) =>
    ({ key: `tag/${number}`, rowClass: 'register', meta: Buffer.from(number < 2 ? text : ''), files: [] }) as const
  await feed.change('tags', (unit) => {
    const put = Array.from({ length: 30 }, (_, number) => tag(number))
    return { put: unit === undefined ? put : put.slice(0, 2) }
  })
}

/** One run; a run that did not succeed is thrown as the first thing that went wrong in it. */
async function pull(spoke: MeshNode): Promise<void> {
  const [replication] = spoke.book.replications.all()
  const run = await spoke.pull(replication?.id ?? '')
  if (run.state === 'succeeded') return
  const [item] = await spoke.parts.runs.items(run.id)
  const code = run.errorCode === '' ? item?.code : run.errorCode
  throw new FeedmeshError(isErrorCode(code) ? code : 'INTERNAL', `${run.state}: ${run.message} ${item?.message ?? ''}`)
}

function openPuller(mesh: Mesh): Prepared['open'] {
  return async (stores, stack): Promise<Live> => {
    const spoke = stack.use(await openTested(mesh, stores))
    return { ledger: spoke.ledger, acknowledged: new Set(), run: () => pull(spoke) }
  }
}

/** A hub and a linked spoke, on the stores under test, that pulls what the hub published `before` and lacks what came `after`. */
function pulling(
  title: string,
  versions: { readonly before: number; readonly after: number; readonly tags: boolean },
  answer: AnswerSync = answerSync,
): Journey {
  const prepare = async (stores: SweptStores, stack: AsyncDisposableStack) => {
    const mesh = createMesh()
    const hub = stack.use(await openMeshNode(mesh.network, { clock: mesh.clock }))
    await using spoke = await openTested(mesh, stores)
    const feed = await hub.createFeed(FEED)
    await spoke.createFeed(FEED)
    const { token } = await hub.accept({ feed: FEED, mode: 'push' })
    await spoke.link(hub, token, { feed: FEED, mode: 'pull' })
    if (versions.tags) await publishTags(feed, 'before')
    await publishVersions(feed, 0, versions.before)
    if (versions.before > 0) await pull(spoke)
    if (versions.tags) await publishTags(feed, 'after')
    await publishVersions(feed, versions.before, versions.after)
    hub.answerSync = answer
    return { open: openPuller(mesh) }
  }
  return { title, failureLeaves: 'either', prepare }
}

/** As a hub answers that keeps no log. */
const withoutLog: AnswerSync = async function* withoutLog(source, request) {
  for await (const reply of answerSync(source, request))
    yield reply.kind === 'head' ? ({ ...reply, logFrom: Number.MAX_SAFE_INTEGER } satisfies SyncReply) : reply
}

/** The spoke's feed comes to include the hub's; interrupted, the next run completes it. */
const linking: Journey = {
  title: 'linking with a hub',
  failureLeaves: 'either',
  prepare: async (filled, world) => {
    const mesh = createMesh()
    const hub = world.use(await openMeshNode(mesh.network, { clock: mesh.clock }))
    await hub.createFeed(FEED)
    const { token } = await hub.accept({ feed: FEED, mode: 'push' })
    {
      await using spoke = await openTested(mesh, filled)
      await spoke.createFeed(FEED)
    }
    const open = async (stores: SweptStores, stack: AsyncDisposableStack): Promise<Live> => {
      const spoke = stack.use(await openTested(mesh, stores))
      const run = async () => {
        if (spoke.book.replications.all().length === 0) await spoke.link(hub, token, { feed: FEED, mode: 'pull' })
        await pull(spoke)
      }
      return { ledger: spoke.ledger, acknowledged: new Set(), run }
    }
    return { open }
  },
}

function restored(snapshot: Snapshot): Promise<SweptStores> {
  const fact = { type: 'put', key: keys.fact(RESTORED_FACT), value: Uint8Array.of(1) } as const
  return SweptStores.open({ ...snapshot, records: [...snapshot.records, fact] })
}

/** A hub, on the stores under test, that was restored from a copy and asks its spoke for its own past. */
const catchingUp: Journey = {
  title: 'catching up after a restore',
  failureLeaves: 'either',
  prepare: async (filled, world) => {
    const mesh = createMesh()
    const spoke = world.use(await openMeshNode(mesh.network, { clock: mesh.clock }))
    await spoke.createFeed(FEED)
    let backup: Snapshot
    {
      await using hub = await openTested(mesh, filled)
      const feed = await hub.createFeed(FEED)
      const { token } = await hub.accept({ feed: FEED, mode: 'push' })
      await spoke.link(hub, token, { feed: FEED, mode: 'pull' })
      await publishVersions(feed, 0, 4)
      await pull(spoke)
      backup = await filled.snapshot()
      await publishVersions(feed, 4, 8)
      await pull(spoke)
    }
    const open = async (stores: SweptStores, stack: AsyncDisposableStack): Promise<Live> => {
      const hub = stack.use(await openTested(mesh, stores))
      await spoke.host.connect(hub.peerId, hub.host.addresses(), AbortSignal.timeout(5000))
      return { ledger: hub.ledger, acknowledged: new Set(), run: () => catchUp(hub) }
    }
    return { open, copy: () => restored(backup) }
  },
}

/** @throws MAY_NOT_SIGN when the run says that all went well and the node has not caught up */
async function catchUp(hub: MeshNode): Promise<void> {
  const { book, ledger, parts, replication } = hub
  for (const one of book.replications.all()) {
    for (const outcome of await replication.replicator.runNow(one, {}))
      if (outcome.error !== undefined) throw outcome.error
  }
  parts.catchUp.verifyCaughtUp(ledger.registry.getLocal(FEED).id, { registry: ledger.registry, book })
}

export const MESH_JOURNEYS: readonly Journey[] = [
  linking,
  pulling('pull of a newcomer', { before: 0, after: 12, tags: false }),
  pulling('pull of the tail of the log', { before: 5, after: 8, tags: true }),
  pulling('pull by comparing tries', { before: 5, after: 8, tags: true }, withoutLog),
  catchingUp,
]
