/** Tries: roots of sets of entries, roots of states, and nodes and segments as they travel. */

import { encodeInner, encodeLeaf, encodeWide, hintOf } from '../sync/node-form.ts'
import { encodeRow, placeOf, rowDigest } from '../../../src/catalog/row.ts'
import { buildTrie, type InnerNode, type TrieEntry } from '../../../src/catalog/trie.ts'
import { ITEMS } from './items.ts'
import { SALT } from './rows.ts'
import { noise, rowToJson, toJson, type Vector } from './vector.ts'

function entriesOf(count: number, prefix = ''): TrieEntry[] {
  const shared = Buffer.from(prefix, 'hex')
  return Array.from({ length: count }, (_, index) => ({
    place: Buffer.concat([shared, noise(`place ${index}`)]).subarray(0, 32),
    digest: noise(`digest ${index}`),
  })).sort((a, b) => a.place.compare(b.place))
}

function nodesOf(entries: readonly TrieEntry[]): Map<string, InnerNode> {
  const nodes = new Map<string, InnerNode>()
  buildTrie(entries, '', (node) => nodes.set(node.path, node))
  return nodes
}

function trie(name: string, what: string, entries: readonly TrieEntry[]): Vector {
  const root = buildTrie(entries)
  const { count, leaf, path } = root
  return {
    folder: `vectors/tries/${name}`,
    kind: 'trie',
    what,
    facts: { entries: 'entries.hex', root: { path, leaf, count, hash: toJson(root.hash) } },
    bytes: { entries: Buffer.concat(entries.flatMap(({ place, digest }) => [place, digest])) },
  }
}

export function trieVectors(): Vector[] {
  const rows = ITEMS.flatMap((item) => item.rows)
  const states = rows
    .map((row) => ({ place: placeOf(SALT, row.unit, row.key), digest: rowDigest(encodeRow(row)) }))
    .sort((a, b) => a.place.compare(b.place))
  const root = buildTrie(states)
  return [
    trie('none', 'no entry', []),
    trie('one', 'one entry', entriesOf(1)),
    trie('leaf-full', '32 entries: a leaf', entriesOf(32)),
    trie('leaf-and-one', '33 entries: an inner node', entriesOf(33)),
    trie('thousand', '1000 entries: two levels of inner nodes', entriesOf(1000)),
    trie('shared-even', '40 entries that share 16 bytes', entriesOf(40, noise('unit', 16).toString('hex'))),
    trie('two-units', 'two sets of 40 entries that share 16 bytes each', [
      ...entriesOf(40, `01${noise('one', 15).toString('hex')}`),
      ...entriesOf(40, `02${noise('two', 15).toString('hex')}`),
    ]),
    trie(
      'shared-odd',
      '33 entries that share 15 nibbles',
      entriesOf(33).map(({ place, digest }) => {
        const shared = Buffer.from(place)
        Buffer.from('0123456789abcd', 'hex').copy(shared)
        shared[7] = 0xe0 | (shared[7]! & 15)
        return { place: shared, digest }
      }).sort((a, b) => a.place.compare(b.place)),
    ),
    {
      folder: 'vectors/tries/state',
      kind: 'state',
      what: 'the state of a feed: rows, the salt of its charter, the root that its manifest signs',
      facts: {
        salt: toJson(SALT),
        rows: rows.map((row) => rowToJson(row)),
        stateRoot: toJson(root.hash),
        entries: root.count,
        bytes: rows.flatMap((row) => row.files).reduce((sum, file) => sum + file.size, 0),
      },
      bytes: {},
    },
  ]
}

function acceptNode(name: string, what: string, bytes: Uint8Array, value: Vector['facts']): Vector {
  return { folder: `sync/vectors/nodes/${name}`, kind: 'node', what, facts: { bytes: 'bytes.hex', value }, bytes: { bytes } }
}

function refuseNode(name: string, what: string, bytes: Uint8Array): Vector {
  const facts = { bytes: 'bytes.hex', code: 'PEER_INVALID' }
  return { folder: `sync/vectors/nodes/${name}-refuse`, kind: 'node', what, facts, bytes: { bytes } }
}

/** `count` below 128, or its bytes. */
function child(nibble: number, count: number | readonly number[]): { readonly nibble: number; readonly bytes: Uint8Array } {
  const bytes = Buffer.concat([Buffer.from(typeof count === 'number' ? [count] : count), Buffer.alloc(4, nibble)])
  return { nibble, bytes }
}

function node(path: Uint8Array, ...children: ReturnType<typeof child>[]): Uint8Array {
  const present = Buffer.alloc(2)
  present.writeUInt16BE(children.reduce((bits, { nibble }) => bits | (0x8000 >> nibble), 0))
  return Buffer.concat([Buffer.of(2), path, present, ...children.map(({ bytes }) => bytes)])
}

const NODE_ENTRIES = entriesOf(1000)
const NODE_ROOT = nodesOf(NODE_ENTRIES).get('')!
const STATE_ROOT = Buffer.alloc(32, 0x25)
const LEAF = encodeLeaf(NODE_ENTRIES.slice(0, 3), STATE_ROOT)
const WHOLE = encodeInner(NODE_ROOT, STATE_ROOT)
const WIDE = encodeWide(NODE_ROOT)

function describeRoot(wide: boolean): Vector['facts'] {
  const children = NODE_ROOT.children.map((one) => ({
    nibble: Number.parseInt(one.path.at(-1) ?? '0', 16),
    count: one.count,
    hash: toJson(wide ? one.hash : hintOf(one.hash, STATE_ROOT)),
  }))
  return { kind: 'inner', path: '', wide, children }
}

function acceptedNodes(): Vector[] {
  const hints = Array.from({ length: 3 }, (_, index) => toJson(LEAF.subarray(1 + 4 * index, 5 + 4 * index)))
  const large = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]
  return [
    acceptNode('empty', 'nothing is there', encodeLeaf([], STATE_ROOT), { kind: 'empty' }),
    acceptNode('leaf', 'three entries of a state whose root begins with 25', LEAF, { kind: 'leaf', hints }),
    acceptNode('inner', 'the root of the trie of 1000 entries, for a state whose root begins with 25', WHOLE, describeRoot(false)),
    acceptNode('wide', 'the same with whole hashes', WIDE, describeRoot(true)),
    acceptNode(
      'counts',
      'children of 33, 128 and 2^48 entries',
      node(Buffer.of(0), child(0, 33), child(7, [0x80, 0x01]), child(15, large)),
      {
        kind: 'inner',
        path: '',
        wide: false,
        children: [
          { nibble: 0, count: 33, hash: toJson(Buffer.alloc(4, 0)) },
          { nibble: 7, count: 128, hash: toJson(Buffer.alloc(4, 7)) },
          { nibble: 15, count: 2 ** 48, hash: toJson(Buffer.alloc(4, 15)) },
        ],
      },
    ),
  ]
}

function refusedNodes(): Vector[] {
  const endless = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]
  return [
    refuseNode('no-bytes', 'no bytes', new Uint8Array(0)),
    refuseNode('kind-unknown', 'kind 4', Buffer.of(4)),
    refuseNode('empty-and-more', 'nothing, and a byte', Buffer.of(0, 0)),
    refuseNode('leaf-of-none', 'a leaf without entries', Buffer.of(1)),
    refuseNode('leaf-of-33', 'a leaf with 33 entries', Buffer.concat([Buffer.of(1), Buffer.alloc(33 * 4)])),
    refuseNode('leaf-cut-off', 'half a hint', LEAF.subarray(0, -2)),
    refuseNode('no-child', 'an inner node without children', node(Buffer.of(0))),
    refuseNode('child-not-named', 'three children of which two are named', Buffer.concat([node(Buffer.of(0), child(3, 40), child(4, 40)), child(5, 40).bytes])),
    refuseNode('one-child', 'an inner node with one child', node(Buffer.of(0), child(3, 40))),
    refuseNode('child-empty', 'a child of no entries', node(Buffer.of(0), child(3, 40), child(4, 0))),
    refuseNode('too-deep', 'a path of 64 nibbles', node(Buffer.concat([Buffer.of(64), Buffer.alloc(32)]), child(1, 40), child(2, 40))),
    refuseNode('path-padding', 'an odd path that is not padded with 0', node(Buffer.from('01a1', 'hex'), child(1, 40), child(2, 40))),
    refuseNode('inner-cut-off', 'half a child', WHOLE.subarray(0, -3)),
    refuseNode('wide-cut-off', 'half a hash', WIDE.subarray(0, -3)),
    refuseNode('count-padded', 'a count with a byte too many', node(Buffer.of(0), child(3, [0xa8, 0]), child(4, 40))),
    refuseNode(
      'count-endless',
      'a count of eight bytes',
      node(Buffer.of(0), child(3, endless), child(4, 40)),
    ),
  ]
}

export function nodeVectors(): Vector[] {
  return [...acceptedNodes(), ...refusedNodes()]
}

/** A zstd frame (RFC 8878) of one raw block: what any encoder may write, and the same for ever. */
export function storedFrame(raw: Uint8Array, declared = raw.length, windowByte?: number): Uint8Array {
  const header = Buffer.alloc(windowByte === undefined ? 9 : 6)
  header.writeUInt32LE(0xfd2fb528, 0)
  if (windowByte === undefined) {
    header[4] = 0b1010_0000
    header.writeUInt32LE(declared, 5)
  } else {
    header[4] = 0
    header[5] = windowByte
  }
  const block = Buffer.alloc(3)
  block.writeUIntLE(1 | (raw.length << 3), 0, 3)
  return Buffer.concat([header, block, raw])
}

export function segmentVectors(): Vector[] {
  const items = ITEMS[0]!.rows.map(encodeRow)
  const raw = Buffer.concat(
    items.flatMap((item) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(item.length)
      return [length, item]
    }),
  )
  const accept = (name: string, what: string, data: Uint8Array, list: readonly Uint8Array[]): Vector => ({
    folder: `sync/vectors/segments/${name}`,
    kind: 'segment',
    what,
    facts: { data: 'data.hex', rawBytes: list.length === 0 ? 0 : raw.length, items: list.map((item) => toJson(item)) },
    bytes: { data },
  })
  const refuse = (name: string, what: string, data: Uint8Array, rawBytes: number): Vector => ({
    folder: `sync/vectors/segments/${name}-refuse`,
    kind: 'segment',
    what,
    facts: { data: 'data.hex', rawBytes, code: 'PEER_INVALID' },
    bytes: { data },
  })
  /** One block that repeats a byte 2 MiB over, in eighteen bytes. */
  const bomb = Buffer.concat([Buffer.from('28b52ffda000002000', 'hex'), ...Array.from({ length: 16 }, (_, at) => Buffer.from([(at === 15 ? 1 : 0) | 2, 0, 0x10, 0x41]))])
  return [
    accept('rows', 'rows of an item, each with its length before it', storedFrame(raw), items),
    accept('empty', 'no rows', storedFrame(new Uint8Array(0)), []),
    refuse('larger-than-declared', 'unpacks to more than it says', storedFrame(raw), raw.length - 1),
    refuse('smaller-than-declared', 'unpacks to less than it says', storedFrame(raw), raw.length + 1),
    refuse('bomb', 'some bytes that unpack to 2 MiB', bomb, 100),
    refuse('window-too-large', 'asks for a window of 4 MiB', storedFrame(raw, raw.length, 12 << 3), raw.length),
    refuse('not-zstd', 'no zstd frame', raw, raw.length),
    refuse('item-cut-off', 'the last row is cut off', storedFrame(raw.subarray(0, -1)), raw.length - 1),
    refuse('length-cut-off', 'half a length follows', storedFrame(Buffer.concat([raw, Buffer.of(0, 0)])), raw.length + 2),
  ]
}
