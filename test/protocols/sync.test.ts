/** `/feedmesh/sync/1` between two states in memory: what is learnt is the difference, whatever the way, and lies never win. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Asking, Target } from '../../protocols/mesh/sync/asker.ts'
import { compareExactly, compareState } from '../../protocols/mesh/sync/comparison.ts'
import { type LogRange, replayTail } from '../../protocols/mesh/sync/log-tail.ts'
import type { SyncReply } from '../../protocols/mesh/sync/messages.ts'
import { encodeInner } from '../../protocols/mesh/sync/node-form.ts'
import type { Operation } from '../../src/catalog/operation.ts'
import { encodeRow, type Row } from '../../src/catalog/row.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { rowOf } from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import {
  askOf,
  type ChangeReplies,
  FEED_ID,
  learn,
  MemoryState,
  readLog,
  type Traffic,
} from '../support/memory-state.ts'

/** Units of many rows share 16 bytes of their places: tries with long common paths. */
const anyRow: fc.Arbitrary<Row> = fc
  .record({
    unit: fc.constantFrom('one', 'two', 'three', 'four'),
    key: fc.nat(150),
    meta: fc.constantFrom('x', 'y', 'z'),
  })
  .map(({ unit, key, meta }) => rowOf(`k${key}`, { unit, meta }))

const nameOf = (row: { readonly unit: string; readonly key: string }): string => `${row.unit} ${row.key}`
const anyRows = fc.uniqueArray(anyRow, { maxLength: 300, selector: nameOf, size: 'max' })

function targetOf(remote: MemoryState): Target {
  return { feedId: FEED_ID, stateRoot: remote.stateRoot, entries: remote.count }
}

const replaying = (range: LogRange) => (asking: Asking) => replayTail(asking, range)

async function verifyLearned(local: MemoryState, remote: MemoryState): Promise<Traffic> {
  const traffic: Traffic = { requests: [], bytes: 0 }
  const before = new Map([...local.rowsByPlace.values()].map((row) => [nameOf(row), row]))
  const after = new Map([...remote.rowsByPlace.values()].map((row) => [nameOf(row), row]))
  const difference = await learn(compareState, { ask: askOf(remote, traffic), local, target: targetOf(remote) })
  {
    const isSame = (row: Row | undefined, other: Row | undefined) =>
      row !== undefined && other !== undefined && Buffer.compare(encodeRow(row), encodeRow(other)) === 0
    const expected = [...after].filter(([name, row]) => !isSame(before.get(name), row)).map(([name]) => name)
    const gone = [...before].filter(([name]) => !after.has(name)).map(([name]) => name)
    assert.deepEqual(difference.puts.map(nameOf).sort(), expected.sort())
    assert.deepEqual(difference.drops.map(nameOf).sort(), gone.sort())
  }
  await local.change(difference)
  assert.deepEqual(local.stateRoot, remote.stateRoot)
  assert.deepEqual(local.contents, remote.contents)
  return traffic
}

describe('comparing tries', () => {
  test('gives exactly what differs, for any two states', async () => {
    await fc.assert(
      fc.asyncProperty(anyRows, anyRows, async (mine, theirs) => {
        await verifyLearned(await MemoryState.of(mine), await MemoryState.of(theirs))
      }),
      runsOf(70),
    )
  })

  test('gives exactly what differs between states of which most is the same', async () => {
    await fc.assert(
      fc.asyncProperty(anyRows, anyRows, fc.nat(20), async (common, other, count) => {
        const theirs = await MemoryState.of(common)
        const dropped = other.slice(0, count).map(({ unit, key }) => ({ unit, key }))
        await theirs.change({ puts: other.slice(count, 2 * count), drops: dropped })
        await verifyLearned(await MemoryState.of(common), theirs)
      }),
      runsOf(70),
    )
  })

  test('asks nothing twice: equal states cost one request, a newcomer one or one a part, a few changes a level a round trip', async () => {
    const rows = Array.from({ length: 20_000 }, (_, index) =>
      rowOf(`v/${index % 40}`, { unit: `unit-${(index / 40) | 0}` }),
    )
    const remote = await MemoryState.of(rows)
    const same = await verifyLearned(await MemoryState.of(rows), remote)
    assert.equal(same.requests.length, 1)
    assert.ok(same.bytes < 1024, `${same.bytes}`)
    const newcomer = await verifyLearned(new MemoryState(), remote)
    const kinds = Object.groupBy(newcomer.requests, (request) => request.kind)
    assert.deepEqual([kinds.nodes?.length, kinds.subtree?.length, kinds.rows?.length], [1, 16, undefined])
    const few = await verifyLearned(new MemoryState(), await MemoryState.of(rows.slice(0, 4000)))
    assert.deepEqual(
      few.requests.map((request) => request.kind),
      ['subtree'],
    )
    assert.ok(newcomer.bytes < 1.1 * rows.reduce((sum, row) => sum + encodeRow(row).length, 0), `${newcomer.bytes}`)
  })

  test('costs bytes in proportion to what differs, not to what there is', async () => {
    const rows = (units: number) =>
      Array.from({ length: units * 20 }, (_, index) => rowOf(`v/${index % 20}`, { unit: `unit-${(index / 20) | 0}` }))
    for (const units of [100, 1000]) {
      const [local, remote] = [await MemoryState.of(rows(units)), await MemoryState.of(rows(units))]
      for (const changes of [1, 10, 100]) {
        const puts = Array.from({ length: changes }, (_, index) =>
          rowOf(`v/new-${changes}`, { unit: `unit-${index}`, stamp: 9 }),
        )
        await remote.change({ puts, drops: [] })
        const { bytes, requests } = await verifyLearned(local, remote)
        assert.ok(requests.length <= 6, `${requests.length} requests`)
        assert.ok(bytes <= 1000 + changes * 1000, `${bytes} bytes for ${changes} of ${units * 20}`)
      }
    }
  })

  test('does not see a change behind a hint that collides, and the root tells', async () => {
    const rows = Array.from({ length: 200 }, (_, index) => rowOf(`v/${index}`, { unit: `${index}` }))
    const [local, remote] = [await MemoryState.of(rows), await MemoryState.of(rows)]
    await remote.change({ puts: [rowOf('v/3', { unit: '3', meta: 'changed' })], drops: [] })
    const colliding = encodeInner((await local.findNode(''))!, remote.stateRoot)
    const ask = askOf(remote, undefined, async function* collide() {
      yield { kind: 'nodes', nodes: [colliding] }
    })
    const difference = await learn(compareState, { ask, local, target: targetOf(remote) })
    assert.deepEqual(difference, { puts: [], drops: [] })
    await local.change(difference)
    assert.notDeepEqual(local.stateRoot, remote.stateRoot)
    await local.change(await learn(compareExactly, { ask: askOf(remote), local, target: targetOf(remote) }))
    assert.deepEqual(local.stateRoot, remote.stateRoot)
  })

  test('by whole hashes gives the same', async () => {
    await fc.assert(
      fc.asyncProperty(anyRows, anyRows, async (mine, theirs) => {
        const [local, remote] = [await MemoryState.of(mine), await MemoryState.of([...mine.slice(20), ...theirs])]
        await local.change(await learn(compareExactly, { ask: askOf(remote), local, target: targetOf(remote) }))
        assert.deepEqual(local.contents, remote.contents)
      }),
      runsOf(30),
    )
  })
})

describe('replaying the log', () => {
  const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
    { arbitrary: anyRow.map((row): Operation => ({ kind: 'put', row })), weight: 3 },
    { arbitrary: anyRow.map(({ unit, key }): Operation => ({ kind: 'drop', unit, key })), weight: 1 },
  )

  test('from any point leads to the state that comparing tries leads to, and fold(log) is the state', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyOperation, { maxLength: 120, size: 'max' }), fc.nat(120), async (log, at) => {
        const from = Math.min(at, log.length)
        const remote = new MemoryState()
        await remote.write(log)
        const local = new MemoryState()
        await local.write(readLog(remote).slice(0, from))
        const byTries = new MemoryState()
        await byTries.change({ puts: [...local.rowsByPlace.values()], drops: [] })
        const range = { epoch: 1, from, to: log.length }
        await local.change(await learn(replaying(range), { ask: askOf(remote), local, target: targetOf(remote) }))
        assert.deepEqual(local.contents, remote.contents)
        assert.deepEqual(local.stateRoot, remote.stateRoot)
        await verifyLearned(byTries, remote)
      }),
      runsOf(70),
    )
  })

  test('of one new version costs a round trip and little more than its row', async () => {
    const remote = await MemoryState.of(Array.from({ length: 5000 }, (_, index) => rowOf(`v/${index}`)))
    await remote.write([{ kind: 'put', row: rowOf('v/new') }])
    const traffic: Traffic = { requests: [], bytes: 0 }
    const local = new MemoryState()
    const state = { ask: askOf(remote, traffic), local, target: targetOf(remote) }
    const difference = await learn(replaying({ epoch: 1, from: 0, to: 1 }), state)
    assert.equal(difference.puts.length, 1)
    assert.equal(traffic.requests.length, 1)
    assert.ok(traffic.bytes < 300, `${traffic.bytes}`)
  })

  test('with more or fewer operations than asked for is refused', async () => {
    const remote = new MemoryState()
    await remote.write(Array.from({ length: 4 }, (_, index): Operation => ({ kind: 'put', row: rowOf(`${index}`) })))
    const lies: ChangeReplies[] = [
      async function* twice(replies) {
        for await (const reply of replies) yield* [{ ...reply, more: 1 } as SyncReply, reply]
      },
      async function* nothing() {
        yield { kind: 'segment', data: Buffer.from('28b52ffd0000010000', 'hex'), rawBytes: 0, more: 0 }
      },
    ]
    for (const lie of lies) {
      const range = { epoch: 1, from: 0, to: 4 }
      const state = { ask: askOf(remote, undefined, lie), local: new MemoryState(), target: targetOf(remote) }
      const replayed = learn(replaying(range), state)
      await assert.rejects(replayed, (error) => isFeedmeshError(error, 'PEER_INVALID'))
    }
  })
})

describe('a lying peer', () => {
  function flipAt(bytes: Uint8Array, at: number): Uint8Array {
    const copy = Uint8Array.from(bytes)
    if (copy.length > 0) copy[at % copy.length] = copy[at % copy.length]! ^ (1 + (at % 255))
    return copy
  }

  /** Changes, drops or repeats the replies that the numbers say. */
  function liar(numbers: readonly number[]): ChangeReplies {
    let at = 0
    return async function* lie(replies) {
      for await (const reply of replies) {
        const number = numbers[at++ % numbers.length]!
        if (number % 5 === 0) continue
        if (number % 5 === 1) yield reply
        if (number % 5 === 2 && reply.kind === 'nodes')
          yield {
            ...reply,
            nodes: reply.nodes.map((node, index) =>
              index === number % reply.nodes.length ? flipAt(node, number) : node,
            ),
          }
        else if (number % 5 === 3 && reply.kind === 'segment') yield { ...reply, data: flipAt(reply.data, number) }
        else if (number % 5 === 4 && reply.kind === 'nodes') yield { ...reply, nodes: reply.nodes.toReversed() }
        else yield reply
      }
    }
  }

  test('leads to an error or to a state whose root is another, never unnoticed to a wrong one, and always to an end', async () => {
    let refused = 0
    await fc.assert(
      fc.asyncProperty(anyRows, anyRows, fc.array(fc.nat(100_000), { minLength: 1 }), async (mine, theirs, numbers) => {
        const [local, remote] = [await MemoryState.of(mine), await MemoryState.of([...mine.slice(3), ...theirs])]
        const contents = remote.contents
        try {
          const state = { ask: askOf(remote, undefined, liar(numbers)), local, target: targetOf(remote) }
          await local.change(await learn(compareState, state))
        } catch (error) {
          assert.ok(isFeedmeshError(error, 'PEER_INVALID'), String(error))
          refused += 1
          return
        }
        // Another root is what the caller refuses.
        if (local.stateRoot.equals(remote.stateRoot)) assert.deepEqual(local.contents, contents)
      }),
      runsOf(200),
    )
    assert.ok(refused > 0, 'no lie was ever noticed')
  })
})
