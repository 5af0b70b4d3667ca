/**
 * What the rows of a signed index say.
 *
 *   unit `//index/<name>`   key `<owner>/g<slot>`   register: a generation; files = the top document and its signatures
 *                           key `<owner>/m/<id>`    a member; files = its gz and zst form
 *   unit `//index/`         key `<owner>`           register: the names of all indexes, and the view they were built from
 */

import { bytes, decodeCbor, encodeCbor, list, record, type Shaped, text, uint } from '../catalog/cbor.ts'
import type { FeedId } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import { INDEX_UNIT_PREFIX, MAX_META_BYTES } from '../feeds/feed.ts'
import type { BuiltDocument, BuiltIndex } from '../feeds/signed-index.ts'

/** Generations that are kept. */
export const GENERATION_SLOTS = 8
const MAX_INDEXES = 4096
const MAX_DOCUMENTS = 4096
const MEMBER_ID_BYTES = 16

export interface StoredMember {
  readonly id: Uint8Array
  /** The first unit in it; empty for what frames a document. */
  readonly first: string
  readonly entries: number
  /** Bytes, not compressed. */
  readonly size: number
}

const encoded = record({ size: [1, uint()], sha256: [2, bytes({ size: 32 })] })

const storedDocument = record({
  document: [1, text(512)],
  entries: [2, uint()],
  raw: [3, encoded],
  gz: [4, encoded],
  zst: [5, encoded],
  /** As `encodeMembers` makes it; none or one. */
  head: [6, bytes({ max: 64 })],
  tail: [7, bytes({ max: 64 })],
  members: [8, bytes({ max: MAX_META_BYTES })],
})

export interface StoredDocument extends Omit<Shaped<typeof storedDocument>, 'head' | 'tail' | 'members'> {
  readonly head: StoredMember | undefined
  readonly tail: StoredMember | undefined
  readonly members: readonly StoredMember[]
}

const storedGeneration = record({
  number: [1, uint()],
  builtAtMs: [2, uint()],
  feedName: [3, text(256)],
  /** In byte order of their names. */
  documents: [4, list(storedDocument, MAX_DOCUMENTS)],
})

export interface Generation extends Omit<Shaped<typeof storedGeneration>, 'documents'> {
  readonly documents: readonly StoredDocument[]
}

const storedDirectory = record({
  indexes: [1, list(text(128), MAX_INDEXES)],
  /** Digest of the view that all of them show, hex; empty where that is not known. */
  view: [2, text(128)],
})
export type Directory = Shaped<typeof storedDirectory>

export const DIRECTORY_UNIT = INDEX_UNIT_PREFIX

export function indexUnit(index: string): string {
  return INDEX_UNIT_PREFIX + index
}

export function generationKey(owner: FeedId, number: number): string {
  return `${owner}/g${number % GENERATION_SLOTS}`
}

export function isGenerationKey(owner: FeedId, key: string): boolean {
  return key.startsWith(`${owner}/g`)
}

export function memberKey(owner: FeedId, id: Uint8Array): string {
  return `${owner}/m/${Buffer.from(id).toString('hex')}`
}

export function isMemberKey(owner: FeedId, key: string): boolean {
  return key.startsWith(`${owner}/m/`)
}

/** member = id(16) entries(4) size(4) firstLength(2) first */
const MEMBER_HEAD_BYTES = MEMBER_ID_BYTES + 10

function encodeMembers(members: readonly StoredMember[]): Buffer {
  const parts = members.map(({ id, first, entries, size }) => {
    const name = Buffer.from(first)
    const head = Buffer.alloc(MEMBER_HEAD_BYTES)
    head.set(id)
    head.writeUInt32BE(entries, MEMBER_ID_BYTES)
    head.writeUInt32BE(size, MEMBER_ID_BYTES + 4)
    head.writeUInt16BE(name.length, MEMBER_ID_BYTES + 8)
    return Buffer.concat([head, name])
  })
  return Buffer.concat(parts)
}

/** @throws PEER_INVALID */
function decodeMembers(encodedMembers: Uint8Array): StoredMember[] {
  const from = Buffer.from(encodedMembers.buffer, encodedMembers.byteOffset, encodedMembers.byteLength)
  const members: StoredMember[] = []
  for (let at = 0; at < from.length; ) {
    const nameAt = at + MEMBER_HEAD_BYTES
    const end = nameAt <= from.length ? nameAt + from.readUInt16BE(nameAt - 2) : Number.POSITIVE_INFINITY
    if (end > from.length) throw new FeedmeshError('PEER_INVALID', 'a signed index ends within a member')
    members.push({
      id: from.subarray(at, at + MEMBER_ID_BYTES),
      entries: from.readUInt32BE(at + MEMBER_ID_BYTES),
      size: from.readUInt32BE(at + MEMBER_ID_BYTES + 4),
      first: from.toString('utf8', nameAt, end),
    })
    at = end
  }
  return members
}

export function encodeGeneration(generation: Generation): Uint8Array {
  const documents = generation.documents.map((document) => ({
    ...document,
    head: encodeMembers(document.head === undefined ? [] : [document.head]),
    tail: encodeMembers(document.tail === undefined ? [] : [document.tail]),
    members: encodeMembers(document.members),
  }))
  return encodeCbor(storedGeneration, { ...generation, documents })
}

/** @throws PEER_INVALID */
export function decodeGeneration(meta: Uint8Array): Generation {
  const { documents, ...rest } = decodeCbor(storedGeneration, meta, 'generation of a signed index')
  return {
    ...rest,
    documents: documents.map(({ head, tail, members, ...document }) => ({
      ...document,
      head: decodeMembers(head)[0],
      tail: decodeMembers(tail)[0],
      members: decodeMembers(members),
    })),
  }
}

export function encodeDirectory(directory: Directory): Uint8Array {
  return encodeCbor(storedDirectory, directory)
}

/** @throws PEER_INVALID */
export function decodeDirectory(meta: Uint8Array): Directory {
  return decodeCbor(storedDirectory, meta, 'directory of signed indexes')
}

/** Everything of a document that is stored as members, in order. */
export function membersOf({ head, members, tail }: Pick<StoredDocument, 'head' | 'members' | 'tail'>): StoredMember[] {
  return [head, ...members, tail].filter((member) => member !== undefined)
}

function describeDocument({ document, entries, raw, gz, zst }: StoredDocument): BuiltDocument {
  const of = ({ size, sha256 }: StoredDocument['raw']) => ({ size, sha256: Buffer.from(sha256).toString('hex') })
  return { document, entries, encodings: { '': of(raw), gz: of(gz), zst: of(zst) } }
}

export function describeGeneration(index: string, generation: Generation): BuiltIndex {
  const { feedName, number, builtAtMs, documents } = generation
  return { feedName, index, generation: number, builtAtMs, documents: documents.map(describeDocument) }
}
