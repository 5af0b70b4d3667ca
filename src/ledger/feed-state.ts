/** What a node holds of one feed, its own or another's: charter, adopted manifest, root of the state trie. */

import {
  bool,
  bytes,
  decodeCbor,
  encodeCbor,
  nullable,
  optional,
  record,
  type Shaped,
  text,
  uint,
  word,
} from '../catalog/cbor.ts'
import { type Charter, charterShape, type FeedId, feedIdBytes, feedIdOf } from '../catalog/charter.ts'
import { sha256 } from '../catalog/digest.ts'
import { type Revocations, revocationsShape } from '../catalog/grant.ts'
import { type Deps, depsShape, type Manifest, manifestShape } from '../catalog/manifest.ts'
import { MAX_SIGNED_BYTES, openObject, type Signed } from '../catalog/signed.ts'
import { EMPTY_ROOT, type NodeRef } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import { UNSIGNED_POLICIES } from '../feeds/feed.ts'
import { keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { HOW_TO_REBUILD } from '../store/stored-bytes.ts'
import { decodeRoot, encodeRoot } from './node-codec.ts'

export interface FeedState {
  /** Local number of the feed in the keys of the store. */
  readonly number: number
  readonly feedId: FeedId
  /** Newest charter. */
  readonly charter: Signed<Charter>
  /** undefined until the first manifest is adopted. */
  readonly manifest: Signed<Manifest> | undefined
  readonly deps: Deps
  readonly revocations: Revocations
  /** Names the rows and nodes that count; see `keys.row`. */
  readonly generation: number
  readonly root: NodeRef
  /** The log is here from this operation on. */
  readonly logFrom: number
}

const storedState = record({
  manifest: [1, nullable(bytes({ max: MAX_SIGNED_BYTES }))],
  deps: [2, depsShape],
  revocations: [3, revocationsShape],
  generation: [4, uint()],
  root: [5, bytes({ max: 128 })],
  logFrom: [6, uint()],
})

/** A feed that lives on this node: what its operator chose. */
const storedLocalFeed = record({
  feedId: [1, bytes({ size: 32 })],
  feedType: [2, text(32)],
  publicRead: [3, bool],
  maxFileBytes: [4, uint()],
  createdAt: [5, uint()],
  unsigned: [6, optional(word(UNSIGNED_POLICIES), 'accept')],
  /** Bytes a second of its files, each way, with all peers together; 0 = as the network allows. */
  maxRate: [7, optional(uint(), 0)],
})
export type LocalFeedRecord = Shaped<typeof storedLocalFeed>

/** Nothing signed vouches for what an operator chose: the record holds its own checksum. */
const CHECKSUM_BYTES = 8

function checksumOf(name: string, body: Uint8Array): Buffer {
  return sha256(`local feed ${name}\n`, body).subarray(0, CHECKSUM_BYTES)
}

export function encodeLocalFeed(name: string, feed: LocalFeedRecord): Uint8Array {
  const body = encodeCbor(storedLocalFeed, feed)
  return Buffer.concat([body, checksumOf(name, body)])
}

/** @throws CORRUPT */
export function decodeLocalFeed(name: string, encoded: Uint8Array): LocalFeedRecord {
  const body = encoded.subarray(0, Math.max(0, encoded.length - CHECKSUM_BYTES))
  if (!checksumOf(name, body).equals(encoded.subarray(body.length)))
    throw new FeedmeshError(
      'CORRUPT',
      `the settings of feed ${JSON.stringify(name.slice(0, 80))} are damaged; ${HOW_TO_REBUILD}`,
    )
  return decodeCbor(storedLocalFeed, body, 'stored feed')
}

export function createFeedState(number: number, charter: Signed<Charter>): FeedState {
  const feedId = feedIdOf(charter)
  return {
    number,
    feedId,
    charter,
    manifest: undefined,
    deps: [],
    revocations: { feedId: feedIdBytes(feedId), list: [] },
    generation: 0,
    root: EMPTY_ROOT,
    logFrom: 0,
  }
}

export function stateWrite(state: FeedState): Write {
  const value = encodeCbor(storedState, {
    manifest: state.manifest?.bytes ?? null,
    deps: state.deps,
    revocations: state.revocations,
    generation: state.generation,
    root: encodeRoot(state.root),
    logFrom: state.logFrom,
  })
  return { type: 'put', key: keys.state(state.number), value }
}

export function charterWrite(number: number, charter: Signed<Charter>): Write {
  return { type: 'put', key: keys.charter(number, charter.value.version), value: charter.bytes }
}

/** All signed charters of a feed from version `from` on, oldest first, as received. */
export async function readCharters(records: Records, number: number, from = 1): Promise<Uint8Array[]> {
  const charters: Uint8Array[] = []
  for await (const [, value] of records.scan({ ...keys.charters(number), gte: keys.charter(number, from) }))
    charters.push(value)
  return charters
}

async function readState(records: Records, number: number): Promise<FeedState> {
  const newest = (await readCharters(records, number)).at(-1)
  const stored = await records.find(keys.state(number))
  if (newest === undefined || stored === undefined) {
    throw new FeedmeshError(
      'CORRUPT',
      `feed number ${number} has no ${newest === undefined ? 'charter' : 'state'}; restore the data folder or run feedmesh verify --repair`,
    )
  }
  const charter = openObject('charter', charterShape, newest)
  const { manifest, root, ...rest } = decodeCbor(storedState, stored, 'stored feed state')
  return {
    number,
    feedId: feedIdOf(charter),
    charter,
    manifest: manifest === null ? undefined : openObject('manifest', manifestShape, manifest),
    root: decodeRoot(root),
    ...rest,
  }
}

/** Every feed this node knows. */
export async function readFeedStates(records: Records): Promise<FeedState[]> {
  const states: FeedState[] = []
  for await (const key of records.scanKeys(keys.feeds())) {
    states.push(await readState(records, Buffer.from(key).readUInt32BE(1)))
  }
  return states
}

export async function readLocalFeeds(records: Records): Promise<Map<string, LocalFeedRecord>> {
  const feeds = new Map<string, LocalFeedRecord>()
  for await (const [key, value] of records.scan(keys.localFeeds())) {
    const name = Buffer.from(key.subarray(1)).toString()
    feeds.set(name, decodeLocalFeed(name, value))
  }
  return feeds
}
