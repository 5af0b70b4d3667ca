/** The journeys of a node by itself whose every operation fails in turn: publish, burn, create, reclaim, mend. */

import type { Digest } from '../../src/catalog/digest.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { type FetchBlob, LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { AuditLog } from '../../src/operations/audit.ts'
import { Maintenance } from '../../src/operations/maintenance.ts'
import { keys } from '../../src/store/keys.ts'
import { openLedgerNode } from './ledger-node.ts'
import { INJECTED, type Snapshot, SweptStores } from './swept-stores.ts'

const ACTOR = { name: 'test', from: 'test' }
const SIGNER = createSeedSigner(Buffer.alloc(32, 7))
export const LARGE = Buffer.alloc(150_000, 'large')
const LONG_META = Buffer.alloc(3000, 'meta')

/** The node on one copy of the stores. */
export interface Live {
  readonly ledger: Ledger
  /** Lines (see `readLines`) are `acknowledged` once a client has been told so; only what a plan of several steps needs. */
  readonly acknowledged: Set<string>
  /** @throws as the journey fails */
  run(): Promise<void>
  /** What an operator does next, whether it failed or not; nothing unless told. The node may have restarted. */
  goOn?(): Promise<Live>
}

export interface Journey {
  readonly title: string
  /** `nothing`: a failure leaves what was there. `either`: what was there, or all of the new. `each`: each change by itself. */
  readonly failureLeaves: 'nothing' | 'either' | 'each'
  /** Whether the stores are damaged before the journey, so that only its end can be audited. */
  readonly isDamaged?: boolean
  /** Fills the stores, and sets up what is around them for as long as `stack` lives. */
  prepare(stores: SweptStores, stack: AsyncDisposableStack): Promise<Prepared>
}

export interface Prepared {
  /** Opens the node on a copy of the stores. */
  open(stores: SweptStores, stack: AsyncDisposableStack): Promise<Live>
  /** The stores that the journey begins with, where they are not what `prepare` left. */
  copy?(snapshot: Snapshot): Promise<SweptStores>
}

export interface Version {
  readonly unit: string
  readonly key: string
  readonly content: Uint8Array
  readonly meta?: Uint8Array
}

export async function publish(feed: LedgerFeed, version: Version): Promise<void> {
  const { unit, key, content, meta = Buffer.from(key) } = version
  await using staged = await feed.stage({ maxBytes: content.length })
  await staged.write(content)
  const blob = await staged.seal()
  await feed.change(unit, () => ({ put: [{ key, rowClass: 'immutable', meta, files: [{ role: 'file', blob }] }] }))
}

function openNode(stores: SweptStores) {
  return openLedgerNode({ records: stores.records, blobs: stores.blobs, signer: SIGNER })
}

async function nothingToFetch(): Promise<never> {
  throw new FeedmeshError('NOT_FOUND', 'not here')
}

function openFeed(ledger: Ledger, stores: SweptStores, name = 'packages'): LedgerFeed {
  const feedId = ledger.registry.getLocal(name).id
  return new LedgerFeed({ name, feedId, ledger, blobs: stores.blobs, fetchBlob: nothingToFetch })
}

async function fill(stores: SweptStores, versions = 40): Promise<void> {
  const node = await openNode(stores)
  const feed = await node.createFeed('packages')
  for (let number = 0; number < versions; number += 1)
    await feed.change(`unit-${number % 7}`, () => ({
      put: [{ key: `tag/${number}`, rowClass: 'register', meta: Buffer.from(`${number}`), files: [] }],
    }))
  await publish(feed, { unit: 'left', key: 'v/1.0.0', content: LARGE, meta: LONG_META })
}

type Run = (parts: {
  readonly stores: SweptStores
  readonly ledger: Ledger
  readonly feed: LedgerFeed
}) => Promise<void>

/** A journey of one change to the feed `packages`. */
function change(title: string, run: Run): Journey {
  return {
    title,
    failureLeaves: 'nothing',
    prepare: async (filled) => {
      await fill(filled)
      const open = async (stores: SweptStores): Promise<Live> => {
        const { ledger } = await openNode(stores)
        return { ledger, acknowledged: new Set(), run: () => run({ stores, ledger, feed: openFeed(ledger, stores) }) }
      }
      return { open }
    },
  }
}

const publishing = change('publish of a large file with long metadata', ({ feed }) =>
  publish(feed, { unit: 'right', key: 'v/1.0.0', content: Buffer.alloc(200_000, 'right'), meta: LONG_META }),
)

const burning = change('burn of a version', ({ feed }) =>
  feed.change('left', () => ({ put: [{ key: 'v/1.0.0', rowClass: 'burn', meta: new Uint8Array(0), files: [] }] })),
)

const creating = change('creation of a feed', async ({ ledger }) => {
  await ledger.createFeed({
    name: 'second',
    feedType: 'npm',
    publicRead: true,
    maxFileBytes: 1000,
    keepRecoverySeed: async () => {},
  })
})

const refreshing = change('refresh of a manifest', ({ ledger, feed }) =>
  ledger.refresh(ledger.registry.getLocal(feed.name).id),
)

async function openGroup(stores: SweptStores): Promise<Live> {
  const { ledger } = await openNode(stores)
  const feed = openFeed(ledger, stores)
  const acknowledged = new Set<string>()
  const publishOne = async (number: number) => {
    const [unit, key] = [`client-${number % 3}`, `v/${number}`]
    if ((await feed.findUnit(unit))?.rows.some((row) => row.key === key) === true) return
    await publish(feed, { unit, key, content: Buffer.alloc(number === 4 ? 90_000 : 500, number) })
    acknowledged.add(`packages ${unit} ${key} `)
  }
  const run = async () => {
    const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map(publishOne))
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }
  return { ledger, acknowledged, run }
}

/** Five clients at once: each is told how its own change went. */
const grouping: Journey = {
  title: 'publish by five clients at once',
  failureLeaves: 'each',
  prepare: async (stores) => {
    await fill(stores)
    return { open: openGroup }
  },
}

function openMaintenance(ledger: Ledger, stores: SweptStores, fetchBlob: FetchBlob = nothingToFetch): Maintenance {
  const audit = new AuditLog(stores.records, Date.now)
  return new Maintenance({ ledger, blobs: stores.blobs, fetchBlob, audit, pinned: () => [] })
}

async function prepareWaste(stores: SweptStores): Promise<void> {
  await fill(stores)
  const node = await openNode(stores)
  const old = await node.createFeed('old')
  for (const key of ['v/1', 'v/2']) await publish(old, { unit: 'old', key, content: Buffer.alloc(80_000, key) })
  for (let number = 0; number < 40; number += 1)
    await old.change('tags', () => ({
      put: [{ key: `tag/${number}`, rowClass: 'register', meta: Buffer.from('old'), files: [] }],
    }))
  await node.ledger.removeFeed('old')
  const feed = openFeed(node.ledger, stores)
  await feed.change('left', () => ({ put: [{ key: 'v/1.0.0', rowClass: 'burn', meta: new Uint8Array(0), files: [] }] }))
}

/** A removed feed and the files of a burned version go; then a feed is made, perhaps over what a failure left. */
function reclaiming(title: string, isRestarted: boolean): Journey {
  const openLive = async (stores: SweptStores): Promise<Live> => {
    const node = await openNode(stores)
    const run = async () => {
      await openMaintenance(node.ledger, stores).reclaim({ isDryRun: false }, ACTOR)
    }
    const goOn = async () => {
      const next = isRestarted ? await openNode(stores) : node
      await publish(await next.createFeed('new'), { unit: 'new', key: 'v/1', content: Buffer.from('new') })
      return isRestarted ? await openLive(stores) : { ledger: node.ledger, acknowledged: new Set<string>(), run }
    }
    return { ledger: node.ledger, acknowledged: new Set(), run, goOn }
  }
  const prepare = async (stores: SweptStores) => {
    await prepareWaste(stores)
    return { open: openLive }
  }
  return { title, failureLeaves: 'nothing', prepare }
}

const LARGE_DIGEST: Digest = sha256Digest(LARGE)
const META_DIGEST: Digest = sha256Digest(LONG_META)

async function openDamaged(stores: SweptStores): Promise<Live> {
  const { ledger } = await openNode(stores)
  const fetchBlob: FetchBlob = async ({ file }) => {
    await using staged = await stores.blobs.stage({ maxBytes: file.size, resume: file.digest })
    await staged.write(file.digest === META_DIGEST ? LONG_META : LARGE)
    await stores.records.write((await staged.seal()).writes)
  }
  const run = async () => {
    const maintenance = openMaintenance(ledger, stores, fetchBlob)
    const report = await maintenance.verify({ repair: true, signal: AbortSignal.timeout(10_000) }, ACTOR)
    const left = report.damaged.find((damage) => !damage.repaired)
    if (left !== undefined) throw Object.values(INJECTED).find(({ message }) => message === left.message) ?? left
  }
  return { ledger, acknowledged: new Set(), run }
}

/** One file is gone from the disk, the bytes of a small one are others. */
const mending: Journey = {
  title: 'verify --repair',
  failureLeaves: 'nothing',
  isDamaged: true,
  prepare: async (stores) => {
    await fill(stores)
    await stores.records.write([{ type: 'put', key: keys.blobBytes(META_DIGEST), value: Buffer.alloc(3000, 'rot') }])
    return { open: openDamaged, copy: (snapshot) => SweptStores.open(snapshot, [LARGE_DIGEST]) }
  },
}

export const OWN_JOURNEYS: readonly Journey[] = [
  publishing,
  grouping,
  burning,
  creating,
  refreshing,
  reclaiming('reclaiming of a removed feed and of files', false),
  reclaiming('reclaiming, with a restart after it', true),
  mending,
]
