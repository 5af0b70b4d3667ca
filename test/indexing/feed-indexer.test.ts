import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FeedIndexer } from '../../src/indexing/feed-indexer.ts'
import { ManualTimers } from '../network/manual-timers.ts'

interface Build {
  readonly changed: ReadonlySet<string> | 'all'
  readonly end: (error?: Error) => void
}

function openBench() {
  const timers = new ManualTimers()
  const builds: Build[] = []
  const failures: unknown[] = []
  let isCurrent = false
  const indexer = new FeedIndexer({
    builder: {
      isCurrent: async () => isCurrent,
      build: (changed) =>
        new Promise((resolve, reject) => {
          builds.push({ changed, end: (error) => (error === undefined ? resolve() : reject(error)) })
        }),
    },
    setTimer: timers.setTimer,
    elapsedMs: timers.now,
    onFailure: (error) => failures.push(error),
  })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    timers,
    builds,
    failures,
    indexer,
    setCurrent: (value: boolean) => {
      isCurrent = value
    },
    end: async (at: number, error?: Error) => {
      builds[at]?.end(error)
      await turn()
    },
    turn,
  }
}

describe('the loop that keeps an index', () => {
  it('builds at once after quiet, then once a second, and more seldom while changes keep coming', async () => {
    const { indexer, builds, timers, end } = openBench()
    indexer.note(new Set(['a']))
    assert.deepEqual(
      builds.map(({ changed }) => changed),
      [new Set(['a'])],
    )
    indexer.note(new Set(['b']))
    indexer.note(new Set(['c']))
    assert.equal(builds.length, 1)
    await end(0)
    const delays: number[] = []
    for (let at = 1; at < 7; at += 1) {
      delays.push(timers.pending[0] ?? 0)
      timers.advance((timers.pending[0] ?? 0) - 1)
      assert.equal(builds.length, at)
      timers.advance(1)
      assert.equal(builds.length, at + 1)
      indexer.note(new Set([`more ${at}`]))
      await end(at)
    }
    assert.deepEqual(builds[1]?.changed, new Set(['b', 'c']))
    assert.deepEqual(delays, [1000, 2000, 4000, 8000, 10_000, 10_000])
  })

  it('is quick again once it had nothing to do', async () => {
    const { indexer, builds, timers, end } = openBench()
    indexer.note(new Set(['a']))
    await end(0)
    timers.advance(1000)
    indexer.note(new Set(['b']))
    assert.equal(builds.length, 2)
  })

  it('leaves an index that shows the view as it is', async () => {
    const { indexer, builds, setCurrent, turn, timers } = openBench()
    setCurrent(true)
    indexer.note('all')
    await turn()
    assert.equal(builds.length, 0)
    setCurrent(false)
    timers.advance(1000)
    indexer.note('all')
    await turn()
    assert.equal(builds[0]?.changed, 'all')
  })

  it('tries again what failed, later each time, with what came meanwhile', async () => {
    const { indexer, builds, failures, timers, end } = openBench()
    indexer.note(new Set(['a']))
    indexer.note(new Set(['b']))
    await end(0, new Error('no space'))
    assert.equal(failures.length, 1)
    timers.advance(1999)
    assert.equal(builds.length, 1)
    timers.advance(1)
    assert.deepEqual(builds[1]?.changed, new Set(['a', 'b']))
    await end(1, new Error('no space'))
    assert.deepEqual(timers.pending, [4000])
  })

  it('lets readers wait for what is being built, but not for what is far away', async () => {
    const { indexer, timers, end, turn } = openBench()
    let isSettled = false
    const settle = async (limitMs: number) => {
      isSettled = false
      void indexer.settled(limitMs).finally(() => {
        isSettled = true
      })
      await turn()
    }
    await settle(100)
    assert.ok(isSettled)
    indexer.note(new Set(['a']))
    await settle(100)
    assert.ok(!isSettled)
    await end(0)
    assert.ok(isSettled)
    indexer.note(new Set(['b']))
    await settle(100)
    assert.ok(isSettled, 'the next build is a second away')
    await settle(1500)
    assert.ok(!isSettled)
    timers.advance(1000)
    await end(1)
    assert.ok(isSettled)
  })

  it('ends with the build that runs', async () => {
    const { indexer, builds, end, turn } = openBench()
    indexer.note(new Set(['a']))
    let isOver = false
    void indexer[Symbol.asyncDispose]().finally(() => {
      isOver = true
    })
    await turn()
    assert.ok(!isOver)
    await end(0)
    assert.ok(isOver)
    indexer.note(new Set(['b']))
    assert.equal(builds.length, 1)
  })
})
