/** Compressed parts of packages in pieces, undone while they stream by. */

import { ReadableStream } from 'node:stream/web'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import xz from 'xz-decompress'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { XzChecks } from './xz-checks.ts'

export const PACKINGS = ['', 'gz', 'xz', 'zst'] as const
export type Packing = (typeof PACKINGS)[number]

export interface UnpackLimits {
  /** Bytes that come out at most. */
  readonly maxBytes: number
  /** How many bytes may come out for one that goes in, beyond the first MIN_RATIO_BYTES. */
  readonly maxRatio: number
}

/** So little may come out of anything. */
const MIN_RATIO_BYTES = 64 * 1024 ** 2

/**
 * What `source` holds, unpacked. Of zstd only the first frame: what stands behind it must not matter to whoever reads this.
 * @throws BAD_PACKAGE naming `subject`: it is not what it claims to be, or unpacks to more than the limits allow; what `source` throws
 */
export async function* unpack(
  source: AsyncIterable<Uint8Array>,
  packing: Packing,
  { subject, limits }: { readonly subject: string; readonly limits: UnpackLimits },
): AsyncGenerator<Buffer> {
  let [taken, given] = [0, 0]
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      taken += piece.length
      yield piece
    }
  }
  try {
    for await (const piece of unpackAll(counted(), packing, subject)) {
      given += piece.length
      if (given > limits.maxBytes)
        throw new FeedmeshError('BAD_PACKAGE', `${subject} unpacks to more than the ${limits.maxBytes} bytes allowed`)
      if (given > MIN_RATIO_BYTES && given > taken * limits.maxRatio)
        throw new FeedmeshError('BAD_PACKAGE', `${subject} unpacks to more than ${limits.maxRatio} times its size`)
      yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
    }
  } catch (error) {
    if (isFeedmeshError(error)) throw error
    const why = error instanceof Error ? error.message : 'unreadable'
    throw new FeedmeshError('BAD_PACKAGE', `${subject} cannot be unpacked: ${why}`, { cause: error })
  }
}

function unpackAll(source: AsyncGenerator<Uint8Array>, packing: Packing, subject: string): AsyncIterable<Uint8Array> {
  switch (packing) {
    case '':
      return source
    case 'gz':
      return throughDecoder(source, createGunzip())
    case 'zst':
      return throughDecoder(source, createZstdDecompress())
    case 'xz':
      return throughXz(source, new XzChecks(subject))
  }
}

async function* throughXz(source: AsyncIterable<Uint8Array>, checks: XzChecks): AsyncGenerator<Uint8Array> {
  for await (const piece of new xz.XzReadableStream(asBytes(checks.takeOff(source)))) {
    checks.verify(piece)
    yield piece
  }
  checks.end()
}

function asBytes(source: AsyncGenerator<Uint8Array>) {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await source.next()
      if (done === true) controller.close()
      else controller.enqueue(value)
    },
  })
}

type Decoder = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>

async function* throughDecoder(source: AsyncIterable<Uint8Array>, decoder: Decoder): AsyncGenerator<Uint8Array> {
  const fed = feed(source, decoder)
  // `feed` destroys the decoder with the same error, so the loop below is what reports it.
  fed.catch(() => undefined)
  try {
    for await (const piece of decoder) yield piece as Uint8Array
  } finally {
    decoder.destroy()
  }
  await fed
}

async function feed(source: AsyncIterable<Uint8Array>, decoder: Decoder): Promise<void> {
  try {
    for await (const piece of source) if (!decoder.destroyed && !decoder.write(piece)) await drained(decoder)
    decoder.end()
  } catch (error) {
    decoder.destroy(error as Error)
  }
}

function drained(decoder: Decoder): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      decoder.off('drain', done).off('close', done)
      resolve()
    }
    if (decoder.destroyed) resolve()
    else decoder.on('drain', done).on('close', done)
  })
}
