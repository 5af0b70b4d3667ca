/** What every mesh host has to do, run on each implementation. */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { FrameReader, writeFrame } from '../../protocols/mesh/frames.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { testConnections } from './mesh-host-connections.ts'
import {
  ask,
  type CreateWorld,
  connectedPair,
  echo,
  failsWith,
  LIMITS,
  never,
  Pair,
  PROTOCOL,
  peerEvent,
  readAll,
} from './mesh-host-world.ts'

export function testMeshHost(name: string, createWorld: CreateWorld): void {
  suite(`mesh host: ${name}`, () => {
    testStreams(createWorld)
    testBreaking(createWorld)
    testConnections(createWorld)
  })
}

function testStreams(createWorld: CreateWorld): void {
  test('streams go both ways over one connection, whoever dialled it', async (t) => {
    await using pair = await connectedPair(await createWorld(t))
    await pair.near.handle(PROTOCOL, LIMITS, echo)
    assert.equal(await ask(await pair.open(), 'to the listener'), 'to the listener')
    const back = await pair.far.open(pair.near.peerId, PROTOCOL, never)
    assert.equal(back.remote, pair.near.peerId)
    assert.equal(await ask(back, 'to the dialler'), 'to the dialler')
    const state = pair.far.peers().find((peer) => peer.peerId === pair.near.peerId)
    assert.equal(state?.direction, 'inbound')
    assert.equal(state?.connections, 1)
  })

  test('16 MiB reach a slow reader unharmed while only a bounded amount is under way', async (t) => {
    const world = await createWorld(t)
    const total = 16 * 1024 * 1024
    const received = { bytes: 0, sha256: createHash('sha256') }
    let sent = 0
    let most = 0
    await using pair = await connectedPair(world, async (channel) => {
      for await (const piece of channel.receive()) {
        received.bytes += piece.byteLength
        received.sha256.update(piece)
        for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate)
        most = Math.max(most, sent - received.bytes)
      }
      await channel.send(Buffer.from('done'))
    })
    const channel = await pair.open()
    const block = randomBytes(1024 * 1024)
    const sha256 = createHash('sha256')
    for (; sent < total; sent += block.byteLength) {
      await channel.send(block)
      sha256.update(block)
    }
    await channel.end()
    assert.equal((await readAll(channel)).toString(), 'done')
    assert.equal(received.bytes, total)
    assert.equal(received.sha256.digest('hex'), sha256.digest('hex'))
    assert.ok(most <= world.maxInFlightBytes, `${most} bytes were under way`)
    assert.ok(most > 0)
  })

  test('a sender stops when the reader stops, and goes on when it does', async (t) => {
    const world = await createWorld(t)
    const go = Promise.withResolvers<void>()
    await using pair = await connectedPair(world, async (channel) => {
      await go.promise
      let bytes = 0
      for await (const piece of channel.receive()) bytes += piece.byteLength
      await channel.send(Buffer.from(String(bytes)))
    })
    const channel = await pair.open()
    const block = Buffer.alloc(256 * 1024)
    const total = world.maxInFlightBytes * 2
    let sent = 0
    const sending = (async () => {
      for (; sent < total; sent += block.byteLength) await channel.send(block)
      await channel.end()
    })()
    for (let quiet = 0, before = -1; quiet < 200; quiet = before === sent ? quiet + 1 : 0) {
      before = sent
      await new Promise(setImmediate)
    }
    assert.ok(sent <= world.maxInFlightBytes, `${sent} bytes were taken from the sender though nobody reads`)
    go.resolve()
    await sending
    assert.equal((await readAll(channel)).toString(), String(sent))
  })

  test('after the half close of one end the other can still send', async (t) => {
    await using pair = await connectedPair(await createWorld(t), async (channel) => {
      const question = await readAll(channel)
      for (let at = 0; at < 3; at += 1) await channel.send(Buffer.from(`${question.toString()}${at} `))
    })
    assert.equal(await ask(await pair.open(), 'part '), 'part 0 part 1 part 2 ')
  })

  test('a handler may answer before it has read everything, and the asker gets all of the answer', async (t) => {
    const answer = randomBytes(3 * 1024 * 1024)
    await using pair = await connectedPair(await createWorld(t), async (channel) => {
      await channel.send(answer)
    })
    const channel = await pair.open()
    await channel.send(Buffer.alloc(100_000))
    assert.ok((await readAll(channel)).equals(answer))
    await channel.end()
  })

  test('frames and the raw bytes after them arrive as they were sent', async (t) => {
    const payload = randomBytes(300_000)
    await using pair = await connectedPair(await createWorld(t), async (channel) => {
      const reader = new FrameReader(channel.receive())
      const question = await reader.read(100)
      assert.equal(await reader.read(100), undefined)
      await writeFrame(channel, Buffer.from(`re: ${Buffer.from(question ?? []).toString()}`))
      await channel.send(payload)
    })
    const channel = await pair.open()
    await writeFrame(channel, Buffer.from('blob?'))
    await channel.end()
    const reader = new FrameReader(channel.receive())
    assert.equal(Buffer.from((await reader.read(100)) ?? []).toString(), 're: blob?')
    const pieces: Uint8Array[] = []
    for await (const piece of reader.stream(payload.byteLength)) pieces.push(Buffer.from(piece))
    assert.ok(Buffer.concat(pieces).equals(payload))
    assert.equal(await reader.read(100), undefined)
  })

  test('hundreds of streams one after the other leave no stream behind', async (t) => {
    const limits = { maxInboundStreams: 2, maxDurationMs: 60_000 }
    const world = await createWorld(t)
    const near = await world.open(generateIdentity())
    const far = await world.open(generateIdentity())
    await using _pair = new Pair(near, far)
    let served = 0
    await far.handle(PROTOCOL, limits, async (channel) => {
      await echo(channel)
      served += 1
    })
    await near.connect(far.peerId, far.addresses(), never)
    for (let at = 0; at < 270; at += 1) {
      assert.equal(await ask(await near.open(far.peerId, PROTOCOL, never), `stream ${at}`), `stream ${at}`)
    }
    assert.equal(served, 270)
  })

  test('streams over the limit of the protocol are reset, the others go on', async (t) => {
    const world = await createWorld(t)
    const near = await world.open(generateIdentity())
    const far = await world.open(generateIdentity())
    await using _pair = new Pair(near, far)
    await far.handle(PROTOCOL, { maxInboundStreams: 2, maxDurationMs: 60_000 }, echo)
    await near.connect(far.peerId, far.addresses(), never)
    const first = await near.open(far.peerId, PROTOCOL, never)
    const second = await near.open(far.peerId, PROTOCOL, never)
    await assert.rejects(async () => {
      const third = await near.open(far.peerId, PROTOCOL, never)
      await ask(third, 'one too many')
    }, failsWith('PEER_UNREACHABLE'))
    assert.equal(await ask(first, 'one'), 'one')
    assert.equal(await ask(second, 'two'), 'two')
    assert.equal(await ask(await near.open(far.peerId, PROTOCOL, never), 'there is room again'), 'there is room again')
  })

  test('rates show what went through', async (t) => {
    await using pair = await connectedPair(await createWorld(t))
    const channel = await pair.open()
    const echoed = readAll(channel)
    await channel.send(Buffer.alloc(2_000_000))
    await channel.end()
    assert.equal((await echoed).byteLength, 2_000_000)
    const state = pair.near.peers().find((peer) => peer.peerId === pair.far.peerId)
    assert.ok(state !== undefined && state.connected)
    assert.ok(state.outRate > 10_000 && state.inRate > 10_000, `${state.outRate} out, ${state.inRate} in`)
  })
}

function testBreaking(createWorld: CreateWorld): void {
  test('a reset by the asker fails the handler and aborts its signal', async (t) => {
    const failed = Promise.withResolvers<unknown>()
    const aborted = Promise.withResolvers<void>()
    await using pair = await connectedPair(await createWorld(t), async (channel, signal) => {
      signal.addEventListener('abort', () => aborted.resolve(), { once: true })
      await readAll(channel).catch((error: unknown) => {
        failed.resolve(error)
        throw error
      })
    })
    const channel = await pair.open()
    await channel.send(Buffer.from('some'))
    const reason = new FeedmeshError('ABORTED', 'changed my mind')
    channel.abort(reason)
    assert.ok(failsWith('PEER_UNREACHABLE', pair.near.peerId)(await failed.promise))
    await aborted.promise
    await assert.rejects(channel.send(Buffer.from('more')), reason)
    await assert.rejects(readAll(channel), reason)
  })

  test('a reset by the handler fails the asker, which is not told that this is the end', async (t) => {
    await using pair = await connectedPair(await createWorld(t), async (channel) => {
      const reader = new FrameReader(channel.receive())
      await reader.readExactly(4)
      channel.abort(new Error('no'))
    })
    const channel = await pair.open()
    await channel.send(Buffer.from('some'))
    await assert.rejects(readAll(channel), failsWith('PEER_UNREACHABLE', pair.far.peerId))
    await assert.rejects(channel.send(Buffer.from('more')), failsWith('PEER_UNREACHABLE'))
  })

  test('a handler that throws resets its stream and harms no other', async (t) => {
    let calls = 0
    await using pair = await connectedPair(await createWorld(t), async (channel) => {
      calls += 1
      if (calls === 1) throw new Error('a defect')
      await echo(channel)
    })
    const broken = await pair.open()
    await assert.rejects(readAll(broken), failsWith('PEER_UNREACHABLE'))
    assert.equal(await ask(await pair.open(), 'still here'), 'still here')
  })

  test('a host that stops fails the streams that are open, and leaves none', async (t) => {
    const world = await createWorld(t)
    const started = Promise.withResolvers<void>()
    const signalled = Promise.withResolvers<unknown>()
    await using pair = await connectedPair(world, async (channel, signal) => {
      signal.addEventListener('abort', () => signalled.resolve(signal.reason), { once: true })
      started.resolve()
      await readAll(channel)
    })
    const channel = await pair.open()
    await channel.send(Buffer.from('begun'))
    await started.promise
    const lost = assert.rejects(readAll(channel), failsWith('PEER_UNREACHABLE', pair.far.peerId))
    const gone = peerEvent(pair.near, 'disconnected', pair.far.peerId)
    await pair.far[Symbol.asyncDispose]()
    assert.ok(failsWith('ABORTED')(await signalled.promise))
    await lost
    await gone
    await assert.rejects(pair.far.connect(pair.near.peerId, pair.near.addresses(), never), failsWith('ABORTED'))
  })
}
