/** Clients that read a blob while it is being fetched. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { WITHHELD_BYTES } from '../../src/replication/growing-blob.ts'
import { openMeshNode } from '../support/mesh-node.ts'
import { Faucet, findFile, openFaucetWorld, openOnDemandFeed, take } from './faucet.ts'

const SIZE = 1_000_000

async function openStarted(stack: AsyncDisposableStack, size = SIZE) {
  const world = await openFaucetWorld(stack, size)
  const { row, file } = await findFile(world.feed)
  const open = async (range?: { start: number; end: number }) => {
    const stream = await world.feed.open(row, file, range)
    return { stream, read: (bytes?: number) => take(iterators.get(stream) ?? iterate(stream), bytes) }
  }
  const iterators = new WeakMap<object, AsyncIterator<Uint8Array>>()
  const iterate = (stream: AsyncIterable<Uint8Array>) => {
    const iterator = stream[Symbol.asyncIterator]()
    iterators.set(stream, iterator)
    return iterator
  }
  return { ...world, row, file, open }
}

test('the first bytes come long before the last, and the end only once all of it is right and here', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, spoke, file } = await openStarted(stack)
  faucet.letOut(200_000)
  const { read } = await open()
  const first = await read(150_000)
  assert.deepEqual(first, content.subarray(0, first.length))
  assert.deepEqual(await spoke.parts.blobs.has([file.digest]), [false])
  faucet.letOut(SIZE - 1)
  const most = await read(SIZE - WITHHELD_BYTES - first.length)
  assert.equal(first.length + most.length, SIZE - WITHHELD_BYTES)
  const rest = read()
  assert.equal(await Promise.race([rest.then(() => 'given'), spokeIsQuiet(spoke)]), 'withheld')
  faucet.letOut(SIZE)
  assert.deepEqual(Buffer.concat([first, most, await rest]), content)
  assert.deepEqual(await spoke.parts.blobs.has([file.digest]), [true])
  assert.deepEqual(faucet.asked, [0])
})

/** Everything that can go on without the source has gone on. */
async function spokeIsQuiet(spoke: { readonly parts: { readonly records: { find(key: Uint8Array): unknown } } }) {
  for (let turn = 0; turn < 200; turn += 1) await spoke.parts.records.find(Buffer.from('nothing'))
  return 'withheld'
}

test('many clients cause one fetch, each at its own pace and with its own range', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, feed, row, file } = await openStarted(stack)
  faucet.letOut(300_000)
  const ranges = [undefined, { start: 0, end: SIZE }, { start: 250_000, end: 700_000 }, { start: SIZE - 10, end: SIZE }]
  const reading = [...ranges, ...ranges, ...ranges].map(async (range) => {
    const { read } = await open(range)
    assert.deepEqual(await read(), content.subarray(range?.start ?? 0, range?.end ?? SIZE))
  })
  const whole = feed.open(row, file)
  faucet.letOut(600_000)
  const { read } = await open({ start: 500_000, end: SIZE })
  const late = await read(50_000)
  faucet.letOut(SIZE)
  await Promise.all(reading)
  assert.deepEqual(Buffer.concat([late, await read()]), content.subarray(500_000))
  ;(await whole).destroy()
  assert.deepEqual(faucet.asked, [0])
})

test('a range that was not asked for in order is refused, and costs no fetch', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, feed, row, file } = await openStarted(stack)
  for (const range of [
    { start: 5, end: 5 },
    { start: -1, end: 5 },
    { start: 0, end: SIZE + 1 },
  ])
    await assert.rejects(feed.open(row, file, range), (error) => isFeedmeshError(error, 'RANGE'))
  assert.deepEqual(faucet.asked, [])
})

test('wrong bytes at the end cut the stream, and nothing of them is kept', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, spoke, file } = await openStarted(stack)
  faucet.distort = (bytes) => Buffer.concat([bytes.subarray(0, SIZE - 1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])
  faucet.letOut(SIZE)
  const { stream, read } = await open()
  await assert.rejects(read(), (error) => isFeedmeshError(error, 'CORRUPT', 'NOT_FOUND'))
  assert.ok(stream.destroyed)
  assert.deepEqual(await spoke.parts.blobs.has([file.digest]), [false])
  assert.equal(await spoke.parts.blobs.partialSize(file.digest), 0)
  faucet.distort = (bytes) => bytes
  const again = await open()
  assert.deepEqual(await again.read(), content)
})

test('a client that waited for its first bytes gets them from the next peer when the first one lies', async () => {
  await using stack = new AsyncDisposableStack()
  const { network, hub, spoke, file, row, content, faucet } = await openStarted(stack)
  const relay = stack.use(await openMeshNode(network))
  await relay.createFeed('packages')
  hub.answerBlobs = undefined
  const fromHub = await hub.accept({ feed: 'packages', mode: 'push' })
  const pulled = await relay.pull(await relay.link(hub, fromHub.token, { feed: 'packages', mode: 'pull' }))
  assert.equal(pulled.state, 'succeeded')
  const fromRelay = await relay.accept({ feed: 'packages', mode: 'push' })
  const wanted = { feed: 'packages', mode: 'pull', availability: 'on-demand' } as const
  assert.equal((await spoke.pull(await spoke.link(relay, fromRelay.token, wanted))).state, 'succeeded')
  const order: string[] = []
  const lying = new Faucet(content)
  lying.distort = (bytes) => Buffer.concat([bytes.subarray(0, SIZE - 1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])
  for (const faucetOf of [faucet, lying]) faucetOf.letOut(SIZE)
  for (const node of [hub, relay])
    node.answerBlobs = (channel, signal) => {
      order.push(node.peerId)
      return (order.length === 1 ? lying : faucet).answer(channel, signal)
    }
  const { feed, stop } = openOnDemandFeed(spoke, 'packages')
  stack.defer(stop)
  // Its end is what is asked for: nothing was passed on when the lie came out.
  const tail = await take((await feed.open(row, file, { start: SIZE - 100, end: SIZE }))[Symbol.asyncIterator]())
  assert.deepEqual(tail, content.subarray(SIZE - 100))
  assert.equal(new Set(order).size, 2)
})

test('when the connection breaks the stream goes on from there once the peer gives the rest', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, spoke } = await openStarted(stack)
  faucet.letOut(400_000)
  const { read } = await open()
  const first = await read(300_000)
  faucet.breakOff()
  const rest = read()
  while (faucet.asked.length < 2) await spokeIsQuiet(spoke)
  faucet.letOut(SIZE)
  assert.deepEqual(Buffer.concat([first, await rest]), content)
  assert.ok(faucet.asked.length > 1 && (faucet.asked[1] ?? 0) >= 300_000, String(faucet.asked))
})

test('when nobody gives the rest the stream fails before its end, and what arrived is taken up again', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, hub } = await openStarted(stack)
  faucet.letOut(400_000)
  const { read } = await open()
  const first = await read(300_000)
  hub.answerBlobs = async (channel) => channel.abort(new Error('gone'))
  faucet.breakOff()
  await assert.rejects(read(), (error) => isFeedmeshError(error, 'NOT_FOUND'))
  hub.answerBlobs = faucet.answer
  faucet.letOut(SIZE)
  const again = await open()
  assert.deepEqual(await again.read(), content)
  assert.ok((faucet.asked.at(-1) ?? 0) >= first.length)
})

test('a blob that nobody has is not found before anything is sent', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, open } = await openStarted(stack)
  hub.answerBlobs = async (channel) => channel.abort(new Error('gone'))
  await assert.rejects(open(), (error) => isFeedmeshError(error, 'NOT_FOUND'))
})

test('a client that leaves does not end what another waits for, nor what is nearly done', async () => {
  await using stack = new AsyncDisposableStack()
  const { faucet, open, content, spoke, file } = await openStarted(stack)
  faucet.letOut(300_000)
  const [leaving, staying] = [await open(), await open()]
  leaving.stream.destroy()
  await once(leaving.stream, 'close')
  faucet.letOut(SIZE)
  assert.deepEqual(await staying.read(), content)
  assert.deepEqual(faucet.asked, [0])
  assert.deepEqual(await spoke.parts.blobs.has([file.digest]), [true])
})

test('a fetch that nobody waits for and that is far from done is given up, and goes on for the next client', async () => {
  await using stack = new AsyncDisposableStack()
  const size = 20_000_000
  const { faucet, open, content, spoke, file } = await openStarted(stack, size)
  faucet.letOut(2_000_000)
  const { stream, read } = await open()
  await read(1_000_000)
  stream.destroy()
  await once(stream, 'close')
  faucet.letOut(size)
  const { read: readAgain } = await open()
  assert.deepEqual(await readAgain(), content)
  assert.equal(faucet.asked.length, 2)
  assert.ok((faucet.asked[1] ?? 0) >= 1_000_000)
  assert.deepEqual(await spoke.parts.blobs.has([file.digest]), [true])
})
