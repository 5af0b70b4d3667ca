import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { sha256 } from '../../src/catalog/digest.ts'
import { buildTrie, EMPTY_ROOT, type InnerNode, type TrieChange } from '../../src/catalog/trie.ts'
import { MemoryTrie } from '../support/memory-trie.ts'

/** Places that share long prefixes as often as not, like the rows of one large unit. */
function placeFor(family: number, index: number): Buffer {
  const head = sha256(`family ${family}`).subarray(0, 16)
  const tail = sha256(`entry ${index}`).subarray(0, 16)
  return Buffer.concat(family === 0 ? [tail, head] : [head, tail])
}

const change = fc.record({
  family: fc.nat(3),
  index: fc.nat(120),
  value: fc.option(fc.nat(3), { nil: undefined, freq: 2 }),
})

function asChanges(batch: readonly { family: number; index: number; value: number | undefined }[]): TrieChange[] {
  const byPlace = new Map<string, TrieChange>()
  for (const { family, index, value } of batch) {
    const place = placeFor(family, index)
    byPlace.set(place.toString('hex'), { place, digest: value === undefined ? undefined : sha256(`value ${value}`) })
  }
  return [...byPlace.values()]
}

test('any order and grouping of the same changes leads to the trie that a rebuild gives', async () => {
  const batches = fc.array(fc.array(change, { maxLength: 150 }), { maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(batches, async (run) => {
      const trie = new MemoryTrie()
      for (const batch of run) {
        await trie.apply(asChanges(batch))
        const expected = new Map<string, InnerNode>()
        const root = buildTrie(await trie.entries(''), '', (node) => expected.set(node.path, node))
        assert.deepEqual(trie.root, root)
        assert.deepEqual(
          new Map([...trie.nodes].sort(([a], [b]) => (a < b ? -1 : 1))),
          new Map([...expected].sort(([a], [b]) => (a < b ? -1 : 1))),
        )
      }
    }),
    { numRuns: 150 },
  )
})

test('removing everything leads back to the empty root', async () => {
  const trie = new MemoryTrie()
  const all = Array.from({ length: 200 }, (_, index) => ({ family: index % 3, index, value: 1 as number | undefined }))
  await trie.apply(asChanges(all))
  assert.equal(trie.root.count, 200)
  await trie.apply(asChanges(all.map((entry) => ({ ...entry, value: undefined }))))
  assert.deepEqual(trie.root, EMPTY_ROOT)
  assert.equal(trie.nodes.size, 0)
})

test('32 entries are a leaf, 33 an inner node, also when they share 15 nibbles', async () => {
  const places = Array.from({ length: 33 }, (_, index) =>
    Buffer.concat([Buffer.from('0123456789abcde0', 'hex'), sha256(`${index}`).subarray(0, 24)]),
  )
  const trie = new MemoryTrie()
  await trie.apply(places.slice(0, 32).map((place) => ({ place, digest: sha256('x') })))
  assert.equal(trie.root.leaf, true)
  await trie.apply([{ place: places[32]!, digest: sha256('x') }])
  assert.equal(trie.root.leaf, false)
  assert.ok(trie.root.path.startsWith('0123456789abcde0'))
})
