/** A hub's data folder that one bit of is flipped, opened without sockets; and an honest spoke that pulls from it. */

import assert from 'node:assert/strict'
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeRow, placeOf, rowDigest } from '../../src/catalog/row.ts'
import { buildTrie, type TrieEntry } from '../../src/catalog/trie.ts'
import { CONFIG_FILE, parseConfig, readConfig, writeConfig } from '../../src/config.ts'
import { dataPaths } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { openFloor } from '../../src/ledger/floor.ts'
import { createIdentity, generateIdentity, type Identity, openIdentity } from '../../src/network/identity.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { setUnrefTimer } from '../../src/network/timers.ts'
import { AuditLog } from '../../src/operations/audit.ts'
import { Essentials } from '../../src/operations/essentials.ts'
import { rebuildLostRecords } from '../../src/operations/lost-records.ts'
import { Maintenance } from '../../src/operations/maintenance.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { keys } from '../../src/store/keys.ts'
import { openLevelRecords } from '../../src/store/level-records.ts'
import type { Records } from '../../src/store/records.ts'
import { watchRecords } from '../../src/store/watched-records.ts'
import { auditStores } from './audit-data.ts'
import { type MeshNode, openMeshNode, readContent } from './mesh-node.ts'
import type { Random } from './random.ts'
import { LARGE, publish } from './swept-journeys.ts'
import { type Snapshot, SweptStores } from './swept-stores.ts'

const FEED = 'packages'
/** Small, so that copies are quick. */
const RESERVE_BYTES = 16 * 1024
const START = Date.parse('2026-01-01T00:00:00Z')
const CONTENT_TABLES = 'fFhsrnlVvwubc'

export interface OpenHub extends AsyncDisposable {
  readonly node: MeshNode
  readonly maintenance: Maintenance
}

/** As the composition root opens the parts that hold data. @throws what a start would */
async function openHub(network: MemoryNetwork, directory: string): Promise<OpenHub> {
  await using stack = new AsyncDisposableStack()
  const paths = dataPaths(directory)
  parseConfig(await readConfig(directory), 'the configuration')
  const identity = await openIdentity(paths.identity)
  const database = stack.use(await openLevelRecords({ directory: paths.records, reserveBytes: RESERVE_BYTES }))
  const floor = await openFloor(paths.floor)
  const warn = () => {}
  await rebuildLostRecords({ records: database, path: paths.essentials, floor, now: () => START, warn })
  let essentials: Essentials | undefined
  const records = watchRecords(database, (writes) => essentials?.note(writes))
  const blobs = await openFileBlobs({ directory: paths.blobs, records: database })
  const node = stack.use(await openMeshNode(network, { identity, records, blobs, floor, clock: { now: START } }))
  const fetchBlob = () => Promise.reject(new Error('nothing is mended here'))
  const audit = new AuditLog(records, Date.now)
  const maintenance = new Maintenance({ ledger: node.ledger, blobs, fetchBlob, audit, pinned: () => [] })
  const { ledger } = node
  const setTimer = setUnrefTimer
  essentials = stack.use(await Essentials.open({ records: database, ledger, path: paths.essentials, setTimer, warn }))
  const opened = stack.move()
  return { node, maintenance, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** The folder before any damage, and what is true of it. */
const BLOB_INDEX = Buffer.from('b').toString('hex')

export class Original {
  readonly folder: string
  /** Tables instead of the log hold the records. */
  readonly compacted: string
  readonly #spoke: { readonly identity: Identity; readonly snapshot: Snapshot }
  readonly #content: ReadonlyMap<string, string>
  readonly #roots: Set<string>

  private constructor(
    folders: { readonly folder: string; readonly compacted: string },
    spoke: { readonly identity: Identity; readonly snapshot: Snapshot },
    truth: { readonly content: ReadonlyMap<string, string>; readonly roots: Set<string> },
  ) {
    this.folder = folders.folder
    this.compacted = folders.compacted
    this.#spoke = spoke
    this.#content = truth.content
    this.#roots = truth.roots
  }

  /** Everything is under `root`, which the caller removes. */
  static async create(root: string): Promise<Original> {
    const [folder, compacted] = [join(root, 'log'), join(root, 'tables')]
    await mkdir(folder, { mode: 0o700 })
    await createIdentity(dataPaths(folder).identity)
    await writeConfig(folder, { site: 'somewhere', http: '127.0.0.1:0' })
    const network = createMemoryNetwork()
    const identity = generateIdentity()
    const stores = await SweptStores.open()
    const roots = new Set<string>()
    let content: ReadonlyMap<string, string>
    {
      await using hub = await openHub(network, folder)
      const { ledger } = hub.node
      const feed = await hub.node.createFeed(FEED)
      ledger.onChange((feedId) => roots.add(ledger.registry.getState(feedId).root.hash.toString('hex')))
      const { token } = await hub.node.accept({ feed: FEED, mode: 'push' })
      {
        await using spoke = await openMeshNode(network, { identity, records: stores.records, blobs: stores.blobs })
        await spoke.createFeed(FEED)
        await spoke.link(hub.node, token, { feed: FEED, mode: 'pull' })
      }
      await fillFeed(feed)
      await hub.node.parts.floor.flush()
      content = await readContent(hub.node.parts.records, CONTENT_TABLES)
    }
    await cp(folder, compacted, { recursive: true })
    await (await openHub(createMemoryNetwork(), compacted))[Symbol.asyncDispose]()
    return new Original({ folder, compacted }, { identity, snapshot: await stores.snapshot() }, { content, roots })
  }

  /**
   * Table letters whose entries differ from the original's. Bytes under a digest that the blob index does not name do not
   * count: nobody reads them. They appear where the key of an overwritten entry is hit.
   */
  async differingTables(records: Records): Promise<Set<string>> {
    const now = await readContent(records, CONTENT_TABLES)
    const tables = new Set<string>()
    for (const key of new Set([...this.#content.keys(), ...now.keys()])) {
      const table = Buffer.from(key.slice(0, 2), 'hex').toString()
      const isUnread = table === 'c' && !this.#content.has(key) && !now.has(`${BLOB_INDEX}${key.slice(2)}`)
      if (now.get(key) !== this.#content.get(key) && !isUnread) tables.add(table)
    }
    return tables
  }

  /** The damaged node is asked to go on signing: it refuses, or signs what was true before and the new rows, and nothing else. */
  async publishOnTop({ ledger }: MeshNode): Promise<void> {
    const { registry } = ledger
    const local = registry.locals.get(FEED)
    if (local === undefined) return
    const units = ['late-1', 'late-2', 'late-3']
    const draft = { key: 'late', rowClass: 'register', meta: Buffer.from('late'), files: [] } as const
    const changes = units.map((unit) => ledger.change(local.id, { unit, plan: () => ({ put: [draft] }) }))
    for (const outcome of await Promise.allSettled(changes)) {
      if (outcome.status === 'fulfilled') continue
      assert.ok(isFeedmeshError(outcome.reason, 'CORRUPT', 'STORAGE_IO'), `publish: ${String(outcome.reason)}`)
      return
    }
    const { root, charter, number } = registry.getState(local.id)
    const entries = this.#entries(number)
    for (const unit of units)
      for (const { row, key } of await registry.readSource(local.id, unit))
        entries.push({ place: placeOf(charter.value.salt, unit, key), digest: rowDigest(encodeRow(row)) })
    const truth = buildTrie(entries.sort((one, other) => one.place.compare(other.place)))
    assert.deepEqual(root.hash, truth.hash, 'damage was signed')
    this.#roots.add(root.hash.toString('hex'))
  }

  /** What the feed consisted of before the damage. */
  #entries(feed: number): TrieEntry[] {
    const prefix = keys.rows(feed, 0).gte
    return [...this.#content].flatMap(([hex, value]) => {
      const key = Buffer.from(hex, 'hex')
      if (Buffer.compare(key.subarray(0, prefix.length), prefix) !== 0) return []
      return [{ place: key.subarray(prefix.length), digest: rowDigest(Buffer.from(value, 'hex')) }]
    })
  }

  /** An honest spoke pulls: what it then shows was signed by the hub, and every byte is what its digest says. */
  async pullHonestly(network: MemoryNetwork, hub: MeshNode): Promise<void> {
    const stores = await SweptStores.open(this.#spoke.snapshot)
    const { identity } = this.#spoke
    const clock = { now: START + 60_000 }
    await using spoke = await openMeshNode(network, { identity, records: stores.records, blobs: stores.blobs, clock })
    const [replication] = spoke.book.replications.all()
    assert.ok(replication)
    await spoke.host.connect(hub.peerId, hub.host.addresses(), AbortSignal.timeout(5000))
    await spoke.pull(replication.id)
    await auditStores(spoke.ledger.registry, stores.blobs)
    for (const state of spoke.ledger.registry.states.values()) {
      if (spoke.ledger.registry.localById(state.feedId) !== undefined || state.manifest === undefined) continue
      assert.ok(this.#roots.has(state.root.hash.toString('hex')), 'the spoke shows a state that the hub never signed')
    }
  }
}

async function fillFeed(feed: Awaited<ReturnType<MeshNode['createFeed']>>): Promise<void> {
  const meta = Buffer.alloc(2000, 'metadata of some length')
  for (let number = 0; number < 4; number += 1)
    await publish(feed, {
      unit: 'left',
      key: `v/${number}`,
      content: Buffer.concat([LARGE, Buffer.from([number])]),
      meta,
    })
  for (let number = 0; number < 6; number += 1)
    await publish(feed, { unit: `right-${number}`, key: 'v/1', content: Buffer.alloc(3000, number) })
  await feed.change('tags', () => ({
    put: Array.from({ length: 40 }, (_, number) => ({
      key: `tag/${number}`,
      rowClass: 'register' as const,
      meta: Buffer.from(`1.0.${number}`),
      files: [],
    })),
  }))
}

export type FlipKind = 'database log' | 'database table' | 'blob file' | 'small file' | 'record'

const PICKS: readonly FlipKind[] = ['database log', 'database table', 'blob file', 'small file', 'record', 'record']

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

async function flipInFile(file: string, random: Random): Promise<string> {
  const bytes = await readFile(file)
  const at = random.below(bytes.length)
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8))
  await writeFile(file, bytes)
  return `byte ${at} of ${bytes.length} of ${file.split('/').slice(-2).join('/')}`
}

async function flipInRecord(directory: string, random: Random): Promise<string> {
  await using records = await openLevelRecords({ directory: dataPaths(directory).records, reserveBytes: RESERVE_BYTES })
  const content = [...(await readContent(records, CONTENT_TABLES))]
  const table = random.pick([...new Set(content.map(([key]) => key.slice(0, 2)))])
  const [key, hex] = random.pick(content.filter(([candidate]) => candidate.startsWith(table)))
  const value = Buffer.from(hex, 'hex')
  const at = random.below(value.length)
  value[at] = (value[at] ?? 0) ^ (1 << random.below(8))
  await records.write([{ type: 'put', key: Buffer.from(key, 'hex'), value }])
  return `byte ${at} of ${value.length} of record ${Buffer.from(table, 'hex').toString()} ${key.slice(2, 40)}`
}

export interface Flip {
  readonly kind: FlipKind
  /** Where, for the message of a failing test. */
  readonly where: string
}

/** Copies the original to `directory` and flips one bit of the copy. */
export async function flipOneBit(original: Original, directory: string, random: Random): Promise<Flip> {
  const kind = random.pick(PICKS)
  await cp(kind === 'database table' ? original.compacted : original.folder, directory, { recursive: true })
  const paths = dataPaths(directory)
  if (kind === 'record') return { kind, where: await flipInRecord(directory, random) }
  const candidates: Record<Exclude<FlipKind, 'record'>, () => Promise<string[]>> = {
    'database log': async () => (await filesUnder(paths.records)).filter((file) => file.endsWith('.log')),
    'database table': async () =>
      (await filesUnder(paths.records)).filter((file) => /\.ldb$|MANIFEST|CURRENT/.test(file)),
    'blob file': () => filesUnder(paths.blobs),
    'small file': async () => [paths.identity, paths.floor, paths.essentials, join(directory, CONFIG_FILE)],
  }
  return { kind, where: await flipInFile(random.pick(await candidates[kind]()), random) }
}

export { openHub }
