/** A source of blobs that gives as many bytes as a test lets out, and nodes that fetch from it on demand. */

import { randomBytes } from 'node:crypto'
import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { Exchange } from '../../protocols/mesh/exchange.ts'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { createDemandFetch, type DemandFetchOptions } from '../../src/replication/demand-fetch.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'

const PIECE_BYTES = 32 * 1024

export class Faucet {
  readonly content: Buffer
  /** Offsets that were asked for. */
  readonly asked: number[] = []
  /** What becomes of a byte on its way. */
  distort: (content: Buffer) => Buffer = (content) => content
  #open = 0
  #isBroken = false
  #changed = Promise.withResolvers<void>()

  constructor(content: Buffer) {
    this.content = content
  }

  /** Gives all bytes before `position`. */
  letOut(position: number): void {
    this.#open = position
    this.#change()
  }

  /** One connection is lost at what was let out. */
  breakOff(): void {
    this.#isBroken = true
    this.#change()
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  readonly answer: NonNullable<MeshNode['answerBlobs']> = async (channel: Channel) => {
    const shapes = { out: blobReply, in: blobRequest, what: BLOB_PROTOCOL }
    await using exchange = new Exchange<BlobReply, BlobRequest>(channel, shapes)
    for (let request = await exchange.find(); request !== undefined; request = await exchange.find())
      await this.#give(exchange, request.offset)
    await exchange.end()
  }

  async #give(exchange: Exchange<BlobReply, BlobRequest>, offset: number): Promise<void> {
    this.asked.push(offset)
    const content = this.distort(this.content)
    await exchange.send({ kind: 'bytes', length: content.length - offset })
    for (let at = offset; at < content.length; ) {
      const end = Math.min(at + PIECE_BYTES, this.#open, content.length)
      if (end > at) await exchange.sendBytes(content.subarray(at, end))
      else if (this.#isBroken) this.#break()
      else await this.#changed.promise
      at = Math.max(at, end)
    }
  }

  #break(): never {
    this.#isBroken = false
    throw new Error('broken off')
  }
}

export const UNIT = 'unit'

/** A feed of the node that fetches what is not here. */
export function openOnDemandFeed(
  node: MeshNode,
  name: string,
  more: Partial<DemandFetchOptions> = {},
): { readonly feed: LedgerFeed; readonly stop: () => void } {
  const { ledger, blobs, book, setTimer } = node.parts
  const { fetcher } = node.replication
  const stopping = new AbortController()
  const { registry } = ledger
  const fetchBlob = createDemandFetch({
    book,
    registry,
    fetcher,
    blobs,
    setTimer,
    stopping: stopping.signal,
    ...more,
  })
  const { id } = registry.getLocal(name)
  return { feed: new LedgerFeed({ name, feedId: id, ledger, blobs, fetchBlob }), stop: () => stopping.abort() }
}

/** A hub with one file, and a spoke that knows of it; the hub answers as the faucet lets it. */
export async function openFaucetWorld(stack: AsyncDisposableStack, size = 1_000_000) {
  const network = createMemoryNetwork()
  const hub = stack.use(await openMeshNode(network))
  const spoke = stack.use(await openMeshNode(network))
  const hubFeed = await hub.createFeed('packages')
  await spoke.createFeed('packages')
  const content = randomBytes(size)
  await publishVersion(hubFeed, UNIT, 'v/1', content)
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const wanted = { feed: 'packages', mode: 'pull', availability: 'on-demand' } as const
  const replication = await spoke.link(hub, token, wanted)
  const run = await spoke.pull(replication)
  if (run.state !== 'succeeded') throw new Error(run.message)
  const faucet = new Faucet(content)
  hub.answerBlobs = faucet.answer
  const { feed, stop } = openOnDemandFeed(spoke, 'packages')
  stack.defer(stop)
  return { network, hub, hubFeed, spoke, feed, content, faucet, replication, token }
}

/** The row and the file that a unit of one version has. */
export async function findFile(feed: LedgerFeed, unit = UNIT) {
  const row = (await feed.findUnit(unit))?.rows[0]
  const file = row?.files[0]
  if (row === undefined || file === undefined) throw new Error(`no file of ${unit}`)
  return { row, file }
}

/** Reads `bytes` of a stream, or all of it; what follows stays unread. */
export async function take(stream: AsyncIterator<Uint8Array>, bytes = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  let length = 0
  while (length < bytes) {
    const next = await stream.next()
    if (next.done === true) break
    pieces.push(next.value)
    length += next.value.length
  }
  return Buffer.concat(pieces)
}
