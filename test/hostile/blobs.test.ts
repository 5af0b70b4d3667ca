/** A hub whose blobs are not what its rows say, against a spoke that pulls. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { Exchange } from '../../protocols/mesh/exchange.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type MeshNode, openHubAndSpoke, publishVersion, readContent } from '../support/mesh-node.ts'

const SMALL = Buffer.alloc(1000, 1)
const LARGE = Buffer.alloc(300_000, 2)

type Liar = (
  exchange: Exchange<BlobReply, BlobRequest>,
  request: Extract<BlobRequest, { kind: 'get' }>,
) => Promise<void>

function answerWith(liar: Liar): NonNullable<MeshNode['answerBlobs']> {
  return async (channel: Channel) => {
    const exchange = new Exchange<BlobReply, BlobRequest>(channel, {
      out: blobReply,
      in: blobRequest,
      what: BLOB_PROTOCOL,
    })
    for (let request = await exchange.find(); request !== undefined; request = await exchange.find())
      await liar(exchange, request)
  }
}

/** What the row says the blob is. */
function contentOf(offset: number, size: number): Buffer {
  return (size === SMALL.length ? SMALL : LARGE).subarray(offset)
}

function lengthOf(request: { readonly unit: string; readonly offset: number }): number {
  return (request.unit === 'small' ? SMALL.length : LARGE.length) - request.offset
}

const LIES: Record<string, readonly [code: string, Liar]> = {
  'wrong bytes': [
    'PEER_INVALID',
    async (exchange, request) => {
      const length = lengthOf(request)
      await exchange.send({ kind: 'bytes', length })
      await exchange.sendBytes(Buffer.alloc(length, 0xee))
    },
  ],
  'a blob that is shorter than its row says': [
    'PEER_INVALID',
    async (exchange, request) => {
      await exchange.send({ kind: 'bytes', length: lengthOf(request) - 1 })
      await exchange.sendBytes(Buffer.alloc(lengthOf(request) - 1))
    },
  ],
  'a blob that is longer than its row says': [
    'PEER_INVALID',
    async (exchange, request) => {
      await exchange.send({ kind: 'bytes', length: lengthOf(request) + 1 })
      await exchange.sendBytes(Buffer.alloc(lengthOf(request) + 1))
    },
  ],
  'a blob that is announced as endless': [
    'PEER_INVALID',
    async (exchange) => {
      await exchange.send({ kind: 'bytes', length: Number.MAX_SAFE_INTEGER })
    },
  ],
  'bytes of another frame in the middle': [
    'PEER_INVALID',
    async (exchange, request) => {
      const length = lengthOf(request)
      await exchange.send({ kind: 'bytes', length })
      await exchange.sendBytes(contentOf(request.offset, length + request.offset).subarray(0, length - 10))
      await exchange.send({ kind: 'bytes', length })
      await exchange.sendBytes(Buffer.alloc(length))
    },
  ],
  'a reply that is none': [
    'PEER_INVALID',
    async (exchange) => {
      await exchange.sendBytes(Buffer.from('00000003a10018', 'hex'))
    },
  ],
  'nothing but a refusal': [
    'NOT_FOUND',
    async (exchange) => {
      await exchange.send({ kind: 'error', code: 'NOT_FOUND', message: 'not here' })
    },
  ],
  'half a blob, then the end': [
    'PEER_INVALID',
    async (exchange, request) => {
      await exchange.send({ kind: 'bytes', length: lengthOf(request) })
      await exchange.sendBytes(Buffer.alloc(10))
      await exchange.end()
    },
  ],
  'half a blob, then a reset': [
    'PEER_UNREACHABLE',
    async (exchange, request) => {
      await exchange.send({ kind: 'bytes', length: lengthOf(request) })
      await exchange.sendBytes(Buffer.alloc(10))
      await exchange[Symbol.asyncDispose]()
    },
  ],
}

for (const [what, [code, liar]] of Object.entries(LIES)) {
  for (const [unit, content] of [
    ['small', SMALL],
    ['large', LARGE],
  ] as const) {
    test(`a pull keeps nothing of ${what} (${unit}), shows no row, and takes the truth afterwards`, async () => {
      await using stack = new AsyncDisposableStack()
      const { hub, spoke, hubFeed, spokeFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
      assert.equal((await spoke.pull(replication)).state, 'succeeded')
      const before = await readContent(spoke.parts.records)
      await publishVersion(hubFeed, unit, 'v/1.0.0', content)
      hub.answerBlobs = answerWith(liar)
      const run = await spoke.pull(replication)
      assert.equal(run.state, 'partial', run.message)
      const items = await spoke.parts.runs.items(run.id)
      assert.deepEqual(
        items.map((item) => item.code),
        [code],
        items[0]?.message,
      )
      assert.equal(await spokeFeed.findUnit(unit), undefined)
      assert.deepEqual(await readContent(spoke.parts.records), before)
      hub.answerBlobs = undefined
      // A peer that broke off may have left wrong bytes behind: then the first attempt finds out and begins anew.
      let again = await spoke.pull(replication)
      if (again.state === 'partial') again = await spoke.pull(replication)
      assert.equal(again.state, 'succeeded', again.message)
      const row = (await spokeFeed.findUnit(unit))?.rows[0]
      assert.ok(row?.files[0])
      const bytes = await spoke.parts.blobs.read(row.files[0].digest, content.length)
      assert.ok(content.equals(bytes))
    })
  }
}

test('a wrong length after an earlier attempt broke off is the peer’s fault', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, hubFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  await publishVersion(hubFeed, 'large', 'v/1.0.0', LARGE)
  hub.answerBlobs = answerWith(async (exchange) => {
    await exchange.send({ kind: 'bytes', length: LARGE.length })
    await exchange.sendBytes(LARGE.subarray(0, 100_000))
    await exchange[Symbol.asyncDispose]()
  })
  assert.equal((await spoke.pull(replication)).state, 'partial')
  hub.answerBlobs = answerWith(async (exchange) => {
    await exchange.send({ kind: 'bytes', length: LARGE.length })
    await exchange.sendBytes(LARGE)
  })
  const run = await spoke.pull(replication)
  const items = await spoke.parts.runs.items(run.id)
  assert.deepEqual([run.state, items.map((item) => item.code)], ['partial', ['PEER_INVALID']], run.message)
  hub.answerBlobs = undefined
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
})
