import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { SharedDials } from '../../src/network/shared-dials.ts'

interface Started {
  readonly peerId: string
  readonly addresses: readonly string[]
  readonly signal: AbortSignal
  readonly result: PromiseWithResolvers<void>
}

const never = new AbortController().signal

function createDials(): { dials: SharedDials; started: Started[] } {
  const started: Started[] = []
  const dials = new SharedDials({
    dial: (peerId, addresses, signal) => {
      const result = Promise.withResolvers<void>()
      signal.addEventListener('abort', () => result.reject(signal.reason))
      started.push({ peerId, addresses, signal, result })
      return result.promise
    },
  })
  return { dials, started }
}

test('callers that want one peer share one dial and its outcome', async () => {
  const { dials, started } = createDials()
  const both = [dials.join('peer', ['/a'], never), dials.join('peer', ['/a'], never)]
  const other = dials.join('other', ['/b'], never)
  assert.deepEqual(
    started.map((each) => each.peerId),
    ['peer', 'other'],
  )
  for (const each of started) each.result.resolve()
  await Promise.all([...both, other])
  const failing = [dials.join('peer', ['/a'], never), dials.join('peer', ['/a'], never)]
  started[2]?.result.reject(new FeedmeshError('PEER_UNREACHABLE', 'nobody'))
  for (const result of await Promise.allSettled(failing)) assert.equal(result.status, 'rejected')
  assert.equal(started.length, 3)
})

test('a caller with other addresses tries those when the dial it joined fails', async () => {
  const { dials, started } = createDials()
  const first = dials.join('peer', ['/a'], never)
  const second = dials.join('peer', ['/b'], never)
  started[0]?.result.reject(new FeedmeshError('PEER_UNREACHABLE', 'nobody at /a'))
  await assert.rejects(first, /nobody at \/a/)
  await new Promise(setImmediate)
  assert.deepEqual(started[1]?.addresses, ['/b'])
  started[1]?.result.resolve()
  await second
})

test('a caller that gives up does not stop the dial of the others', async () => {
  const { dials, started } = createDials()
  const hasty = new AbortController()
  const gone = dials.join('peer', ['/a'], hasty.signal)
  const patient = dials.join('peer', ['/a'], never)
  hasty.abort()
  await assert.rejects(gone, (error) => isFeedmeshError(error, 'ABORTED'))
  assert.equal(started[0]?.signal.aborted, false)
  started[0]?.result.resolve()
  await patient
})

test('a dial that is stopped is not tried again by those who joined it, and after close none starts', async () => {
  const { dials, started } = createDials()
  const released = new FeedmeshError('ABORTED', 'released')
  const joined = [dials.join('peer', ['/a'], never), dials.join('peer', ['/b'], never)]
  dials.stop('peer', released)
  for (const each of joined) await assert.rejects(each, released)
  dials.close(new FeedmeshError('ABORTED', 'stopping'))
  await assert.rejects(dials.join('peer', ['/a'], never), /stopping/)
  assert.equal(started.length, 1)
})
