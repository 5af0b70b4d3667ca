import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import { LeftoverSweep } from '../../src/operations/leftover-sweep.ts'

test('what is left is removed at the start and again after a while, also after a failure, until the node stops', async () => {
  const failures: string[] = []
  const timers: { readonly run: () => void; isCancelled: boolean }[] = []
  let next = Promise.withResolvers<void>()
  let sweeps = 0
  const sweep = new LeftoverSweep({
    ledger: {
      clearLeftovers: async () => {
        sweeps += 1
        if (sweeps === 1) throw new FeedmeshError('STORAGE_IO', 'the disk failed')
      },
    },
    setTimer: (run) => {
      const timer = { run, isCancelled: false }
      timers.push(timer)
      next.resolve()
      return () => {
        timer.isCancelled = true
      }
    },
    onFailure: ({ code }) => failures.push(code),
  })
  sweep.start()
  await next.promise
  next = Promise.withResolvers<void>()
  timers[0]?.run()
  await next.promise
  assert.deepEqual([sweeps, failures], [2, ['STORAGE_IO']])
  await sweep[Symbol.asyncDispose]()
  assert.ok(timers[1]?.isCancelled)
})

test('a node that stops ends a sweep, and that is no failure', async () => {
  const failures: string[] = []
  const sweep = new LeftoverSweep({
    ledger: {
      clearLeftovers: (signal) =>
        new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason))
        }),
    },
    setTimer: () => assert.fail('no further sweep is planned'),
    onFailure: ({ code }) => failures.push(code),
  })
  sweep.start()
  await sweep[Symbol.asyncDispose]()
  assert.deepEqual(failures, [])
})
