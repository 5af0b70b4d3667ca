import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { sha256 } from '../../src/catalog/digest.ts'
import { buildTrie, type InnerNode, type TrieEntry } from '../../src/catalog/trie.ts'
import { StreamedTrie } from '../../src/ledger/streamed-trie.ts'
import { runsOf } from '../support/fuzz-runs.ts'

/** Places of a few families, each with a prefix of its own length. */
function entryFor(family: number, index: number): TrieEntry {
  const place = Buffer.concat([
    sha256(`family ${family}`).subarray(0, family * 5),
    sha256(`entry ${index}`).subarray(0, 32 - family * 5),
  ])
  return { place, digest: sha256(`digest ${index}`) }
}

function verifySame(entries: readonly TrieEntry[]): void {
  const byPlace = new Map(entries.map((entry) => [entry.place.toString('hex'), entry]))
  const sorted = [...byPlace.values()].sort((a, b) => a.place.compare(b.place))
  const expected = new Map<string, InnerNode>()
  const root = buildTrie(sorted, '', (node) => expected.set(node.path, node))
  const emitted = new Map<string, InnerNode>()
  const streamed = new StreamedTrie((node) => emitted.set(node.path, node))
  for (const entry of sorted) streamed.add(entry)
  assert.deepEqual(streamed.end(), root)
  assert.deepEqual(emitted, expected)
}

test('entries one after the other lead to the trie that all of them at once give', () => {
  const entry = fc.record({ family: fc.nat(6), index: fc.nat(2000) })
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 600, size: 'max' }), (list) =>
      verifySame(list.map(({ family, index }) => entryFor(family, index))),
    ),
    runsOf(60),
  )
})

test('any number of entries around the size of a leaf', () => {
  for (const count of [0, 1, 2, 31, 32, 33, 34, 64, 65, 1000])
    verifySame(Array.from({ length: count }, (_, index) => entryFor(count % 7, index)))
})

test('places that do not rise are refused', () => {
  const streamed = new StreamedTrie(() => {})
  const entry = entryFor(1, 1)
  streamed.add(entry)
  assert.throws(() => streamed.add(entry), RangeError)
})
