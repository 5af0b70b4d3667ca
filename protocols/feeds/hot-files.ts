/** Contents of small files that were asked for lately: many machines that install one project ask for the same ones. */

import type { Readable } from 'node:stream'
import { FeedmeshError } from '../../src/errors.ts'
import { ByteCache } from './byte-cache.ts'

const MAX_HOT_BYTES = 32 * 1024 ** 2
/** Above this, opening a file costs little beside sending it. */
const MAX_HOT_FILE_BYTES = 256 * 1024

export interface HotFile {
  /** Names the content, for ever: its digest. */
  readonly digest: string
  readonly size: number
  readonly open: () => Promise<Readable>
}

export class HotFiles {
  readonly #contents = new ByteCache<Buffer>(MAX_HOT_BYTES)
  readonly #reading = new Map<string, Promise<Buffer>>()

  /** The whole content, read once however many ask for it at a time; undefined when the file is too large to be kept. */
  async find(file: HotFile): Promise<Buffer | undefined> {
    if (file.size > MAX_HOT_FILE_BYTES) return undefined
    const known = this.#contents.find(file.digest) ?? this.#reading.get(file.digest)
    if (known !== undefined) return known
    const reading = readWhole(file)
    this.#reading.set(file.digest, reading)
    try {
      const content = await reading
      this.#contents.set(file.digest, content, content.length)
      return content
    } finally {
      this.#reading.delete(file.digest)
    }
  }
}

/** @throws CORRUPT and what the stream fails with */
async function readWhole({ digest, size, open }: HotFile): Promise<Buffer> {
  const content = Buffer.allocUnsafeSlow(size)
  let at = 0
  for await (const piece of (await open()) as AsyncIterable<Uint8Array>) {
    if (at + piece.length <= size) content.set(piece, at)
    at += piece.length
  }
  if (at !== size) throw new FeedmeshError('CORRUPT', `${digest} has ${at} bytes instead of ${size}`)
  return content
}
