/**
 * The only spelling of database keys.
 *
 * A key = one ASCII byte that names the table, then fixed-width parts, then at most one part of variable width at the end.
 * `F` is a feed's local number (u32, interned once), all numbers are big-endian so that byte order is numeric order.
 */

import { algorithmOf, type Digest, digestBytes, digestFromBytes } from '../catalog/digest.ts'
import type { KeyRange } from './records.ts'

function table(letter: string, ...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(letter, 'latin1'), ...parts])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function u64(value: bigint | number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

/** All keys that start with `prefix`. */
export function under(prefix: Uint8Array): KeyRange {
  return { gte: prefix, lt: after(prefix) }
}

/** The first key in byte order that does not start with `prefix`. */
export function after(prefix: Uint8Array): Buffer {
  const end = Buffer.from(prefix)
  for (let i = end.length - 1; i >= 0; i -= 1) {
    const byte = end[i] ?? 0
    if (byte < 0xff) {
      end[i] = byte + 1
      return end.subarray(0, i + 1)
    }
  }
  return Buffer.alloc(64, 0xff)
}

function digestKey(digest: Digest): Buffer {
  return Buffer.concat([Buffer.from([algorithmOf(digest) === 'sha256' ? 1 : 2]), digestBytes(digest)])
}

/** The digest that `keys.blob(digest)` was made of. */
export function blobKeyDigest(key: Uint8Array): Digest {
  return digestFromBytes(key[1] === 1 ? 'sha256' : 'sha512', key.subarray(2))
}

/** The digest in `keys.uploaded(…)`. */
export function uploadedKeyDigest(key: Uint8Array): Digest {
  const algorithm = key[5] === 1 ? 'sha256' : 'sha512'
  return digestFromBytes(algorithm, key.subarray(6, algorithm === 'sha256' ? 38 : 70))
}

export const keys = {
  /** Schema version, incarnation and other single facts about the data folder. */
  fact: (name: string) => table('!', Buffer.from(name)),
  /** Blob facts: where it is, size, chunk root. */
  blob: (digest: Digest) => table('b', digestKey(digest)),
  blobs: () => under(table('b')),
  /** Bytes of a blob of at most 64 KiB. */
  blobBytes: (digest: Digest) => table('c', digestKey(digest)),

  /** A feed this node knows, by its local number. */
  feed: (feed: number) => table('f', u32(feed)),
  feeds: () => under(table('f')),
  /** A feed of this node, by name: what the operator set. */
  localFeed: (name: string) => table('F', Buffer.from(name)),
  localFeeds: () => under(table('F')),
  /** Whether a feed of this node signs its own indexes, where the operator has said so. */
  indexMode: (feedId: string) => table('i', Buffer.from(feedId, 'hex')),
  indexModes: () => under(table('i')),
  /** Signed charter versions of a feed. */
  charter: (feed: number, version: number) => table('h', u32(feed), u32(version)),
  charters: (feed: number) => under(table('h', u32(feed))),
  /** Adopted state of a feed: manifest, deps, revocations, root of the trie. The commit point of publish and adopt. */
  state: (feed: number) => table('s', u32(feed)),
  /** Rows of a feed's state by their place in the trie; `generation` changes when the state is loaded anew as a whole. */
  row: (feed: number, generation: number, place: Uint8Array) => table('r', u32(feed), u32(generation), place),
  rows: (feed: number, generation: number) => under(table('r', u32(feed), u32(generation))),
  allRows: (feed: number) => under(table('r', u32(feed))),
  /** Inner nodes of the state trie by packed path. */
  node: (feed: number, generation: number, path: Uint8Array) => table('n', u32(feed), u32(generation), path),
  nodes: (feed: number, generation: number) => under(table('n', u32(feed), u32(generation))),
  allNodes: (feed: number) => under(table('n', u32(feed))),
  /** A generation of a feed's rows that is on its way and counts for nobody yet. */
  shadow: (feed: number) => table('S', u32(feed)),
  shadows: () => under(table('S')),
  /** A generation of a feed's rows (kind 0) or of a view's index (kind 1) that is to be removed. */
  leftover: (feed: number, kind: 0 | 1, generation: number) =>
    table('g', u32(feed), Uint8Array.of(kind), u32(generation)),
  leftovers: () => under(table('g')),
  leftoversOf: (feed: number) => under(table('g', u32(feed))),
  /** Operations of a feed's log. */
  operation: (feed: number, epoch: number, index: number) => table('l', u32(feed), u32(epoch), u64(index)),
  operations: (feed: number, epoch: number) => under(table('l', u32(feed), u32(epoch))),
  allOperations: (feed: number) => under(table('l', u32(feed))),

  /** Root, totals and generation of a feed's view. */
  view: (feed: number) => table('V', u32(feed)),
  /** Digest of each visible row of a view by its unsalted place; `generation` changes when the index is built anew as a whole. */
  viewRow: (feed: number, generation: number, place: Uint8Array) => table('v', u32(feed), u32(generation), place),
  viewRows: (feed: number, generation: number) => under(table('v', u32(feed), u32(generation))),
  allViewRows: (feed: number) => under(table('v', u32(feed))),
  viewNode: (feed: number, generation: number, path: Uint8Array) => table('w', u32(feed), u32(generation), path),
  viewNodes: (feed: number, generation: number) => under(table('w', u32(feed), u32(generation))),
  allViewNodes: (feed: number) => under(table('w', u32(feed))),
  /** Summary of a visible unit, in order of names. */
  viewUnit: (feed: number, generation: number, unit: string) =>
    table('u', u32(feed), u32(generation), Buffer.from(unit)),
  viewUnits: (feed: number, generation: number) => under(table('u', u32(feed), u32(generation))),
  allViewUnits: (feed: number) => under(table('u', u32(feed))),

  /** Proof that a feed was forked; kept when the feed is forgotten. */
  fork: (feedId: string) => table('q', Buffer.from(feedId, 'hex')),
  forks: () => under(table('q')),
  /** What a new epoch of a feed undid, by feed and a hash of (unit, key). */
  returnedRow: (feedId: string, place: Uint8Array) => table('o', Buffer.from(feedId, 'hex'), place),
  returnedRows: () => under(table('o')),

  /** Files that were uploaded to a feed and that no row names yet: when, Unix time in ms. */
  uploaded: (feed: number, digest: Digest, unit: string) => table('U', u32(feed), digestKey(digest), Buffer.from(unit)),
  uploadedTo: (feed: number) => under(table('U', u32(feed))),
  allUploaded: () => under(table('U')),
  /** Uploads that are under way. */
  uploadSession: (feed: number, id: Uint8Array) => table('d', u32(feed), id),
  uploadSessions: (feed: number) => under(table('d', u32(feed))),

  /** A blob that was fetched because a client asked for it: how large it is and when it was used last. */
  onDemand: (digest: Digest) => table('D', digestKey(digest)),
  onDemands: () => under(table('D')),

  /** What feed types have computed from a feed and can compute again. */
  note: (feed: number, name: string) => table('j', u32(feed), Buffer.from(name)),
  notes: (feed: number) => under(table('j', u32(feed))),

  /** Configuration and history of replications, tokens, API keys, peers. */
  replication: (id: string) => table('p', Buffer.from(id)),
  replications: () => under(table('p')),
  link: (id: string) => table('k', Buffer.from(id)),
  links: () => under(table('k')),
  token: (id: Uint8Array) => table('t', id),
  tokens: () => under(table('t')),
  apiKey: (id: string) => table('a', Buffer.from(id)),
  apiKeys: () => under(table('a')),
  peer: (peerId: string) => table('e', Buffer.from(peerId)),
  peers: () => under(table('e')),
  /** Peers that read a feed, by hearsay and by proof, and the chain that this node shows them. */
  neighbours: (feedId: string) => table('N', Buffer.from(feedId, 'hex')),
  allNeighbours: () => under(table('N')),
  run: (id: number) => table('x', u64(id)),
  runs: () => under(table('x')),
  runItem: (id: number, index: number) => table('y', u64(id), u32(index)),
  runItems: (id: number) => under(table('y', u64(id))),
  /** Audit log by time (ms) and a counter. */
  audit: (time: number, counter: number) => table('z', u64(time), u32(counter)),
  audits: () => under(table('z')),
} as const
