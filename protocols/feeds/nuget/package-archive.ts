/** A package as a zip whose bytes are asked for in ranges: its list of members and single members, never all of it. */

import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import yauzl from 'yauzl'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import type { ByteRange } from '../../../src/store/blobs.ts'
import { GrowingBuffer } from '../growing-buffer.ts'
import { MAX_NUSPEC_BYTES } from './nuspec.ts'

export interface ArchiveSource {
  readonly size: number
  open(range: ByteRange): Promise<Readable>
}

export interface ArchiveLimits {
  readonly maxEntries: number
  /** Sum of what the members say they unpack to, bytes. */
  readonly maxUnpackedBytes: number
  /** Unpacked to packed, of archives that unpack to more than `freeUnpackedBytes`. */
  readonly maxRatio: number
  readonly freeUnpackedBytes: number
}

export const ARCHIVE_LIMITS: ArchiveLimits = {
  maxEntries: 65_535,
  maxUnpackedBytes: 64 * 1024 ** 3,
  maxRatio: 200,
  freeUnpackedBytes: 256 * 1024 ** 2,
}

/** The list of members is read in pieces of this size. */
const BLOCK_BYTES = 256 * 1024

export interface PackageArchive extends Disposable {
  readonly entries: readonly yauzl.Entry[]
  /** @throws BAD_PACKAGE */
  openEntry(entry: yauzl.Entry): Promise<Readable>
}

/** @throws BAD_PACKAGE, and what the source throws */
export async function openPackageArchive(
  source: ArchiveSource,
  limits: ArchiveLimits = ARCHIVE_LIMITS,
): Promise<PackageArchive> {
  const reader = new RangeReader(source)
  try {
    const zip = await yauzl.fromRandomAccessReaderPromise(reader, source.size, {
      lazyEntries: true,
      autoClose: false,
      validateEntrySizes: true,
    })
    if (zip.entryCount > limits.maxEntries)
      throw bad(`it has ${zip.entryCount} members, more than ${limits.maxEntries}`)
    const entries = await readEntries(zip)
    // The count in the end record has 16 bits and may have wrapped.
    if (await reader.startsWith('PK\x01\x02', Number(zip.readEntryCursor)))
      throw bad('it has more members than it says')
    verifySizes(entries, source.size, limits)
    return {
      entries,
      openEntry: async (entry) => {
        if (entry.isEncrypted()) throw bad(`member ${shown(entry.fileName)} is encrypted`)
        return await zip.openReadStreamPromise(entry)
      },
      [Symbol.dispose]: () => zip.close(),
    }
  } catch (error) {
    throw asBadPackage(reader.failure ?? error)
  }
}

/** The only manifest at the root. @throws BAD_PACKAGE */
export async function readNuspec(archive: PackageArchive): Promise<Uint8Array> {
  const [entry, ...others] = archive.entries.filter(({ fileName }) => /^[^/]+\.nuspec$/i.test(fileName))
  if (entry === undefined) throw bad('it has no .nuspec at its root')
  if (others.length > 0) throw bad(`it has ${others.length + 1} .nuspec files at its root instead of one`)
  return await readEntry(archive, entry, MAX_NUSPEC_BYTES)
}

/** @throws BAD_PACKAGE also when it has more than `maxBytes` */
export async function readEntry(archive: PackageArchive, entry: yauzl.Entry, maxBytes: number): Promise<Uint8Array> {
  const name = shown(entry.fileName)
  if (entry.uncompressedSize > maxBytes) throw bad(`member ${name} has more than ${maxBytes} bytes`)
  const content = new GrowingBuffer()
  try {
    for await (const piece of (await archive.openEntry(entry)) as AsyncIterable<Uint8Array>) {
      if (content.size + piece.length > maxBytes) throw bad(`member ${name} has more than ${maxBytes} bytes`)
      content.append(piece)
    }
  } catch (error) {
    throw asBadPackage(error)
  }
  return content.bytes()
}

async function readEntries(zip: yauzl.ZipFile): Promise<yauzl.Entry[]> {
  const entries: yauzl.Entry[] = []
  const names = new Set<string>()
  for await (const entry of zip.eachEntry()) {
    verifyName(entry.fileName)
    if (names.has(entry.fileName)) throw bad(`it has two members ${shown(entry.fileName)}`)
    names.add(entry.fileName)
    entries.push(entry)
  }
  return entries
}

/** Clients undo percent-encoding in the names of parts before they write them to disk. */
function verifyName(name: string): void {
  const plain = name.replace(/%([0-9a-f]{2})/gi, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  for (const one of [name, plain]) {
    const isOutside = yauzl.validateFileName(one.replaceAll('\\', '/')) !== null || one.includes('\0')
    if (isOutside) throw bad(`member ${shown(name)} lies outside the package`)
  }
}

function verifySizes(entries: readonly yauzl.Entry[], size: number, limits: ArchiveLimits): void {
  let packed = 0
  let unpacked = 0
  for (const entry of entries) {
    packed += entry.compressedSize
    unpacked += entry.uncompressedSize
  }
  if (packed > size) throw bad('its members overlap')
  const isBomb = unpacked > limits.freeUnpackedBytes && unpacked > size * limits.maxRatio
  if (isBomb || unpacked > limits.maxUnpackedBytes) throw bad(`its ${size} bytes unpack to ${unpacked}`)
}

class RangeReader extends yauzl.RandomAccessReader {
  readonly #source: ArchiveSource
  #block: { readonly start: number; readonly bytes: Buffer } | undefined
  /** Why the source could not be read: no fault of the archive's. */
  failure: unknown

  constructor(source: ArchiveSource) {
    super()
    this.#source = source
  }

  // yauzl's own signature: where to, from where, and whom to tell.
  // oxlint-disable-next-line max-params
  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    // oxlint-disable-next-line no-callback-in-promise -- yauzl knows nothing else
    void this.#readInto(buffer.subarray(offset, offset + length), position).then(callback)
  }

  async #readInto(target: Buffer, position: number): Promise<Error | null> {
    try {
      await this.#copy(target, position)
      return null
    } catch (error) {
      this.failure = error
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  override _readStreamForRange(start: number, end: number): Readable {
    const out = new PassThrough()
    if (start >= end) return out.end()
    this.#source.open({ start, end }).then(
      (stream) => pipeline(stream, out).catch((error: unknown) => void out.destroy(error as Error)),
      (error: unknown) => void out.destroy(error as Error),
    )
    return out
  }

  async startsWith(text: string, position: number): Promise<boolean> {
    if (position + text.length > this.#source.size) return false
    const found = Buffer.alloc(text.length)
    await this.#copy(found, position)
    return found.toString('latin1') === text
  }

  async #copy(target: Buffer, position: number): Promise<void> {
    let done = 0
    while (done < target.length) {
      const block = await this.#readBlock(position + done)
      done += block.bytes.copy(target, done, position + done - block.start)
    }
  }

  async #readBlock(position: number): Promise<{ readonly start: number; readonly bytes: Buffer }> {
    const start = position - (position % BLOCK_BYTES)
    if (this.#block?.start === start) return this.#block
    const end = Math.min(start + BLOCK_BYTES, this.#source.size)
    if (position >= end) throw bad('it is cut off')
    const bytes = new GrowingBuffer()
    for await (const piece of (await this.#source.open({ start, end })) as AsyncIterable<Uint8Array>)
      bytes.append(piece)
    if (bytes.size !== end - start) throw new FeedmeshError('CORRUPT', `a stored package ends before byte ${end}`)
    this.#block = { start, bytes: Buffer.from(bytes.bytes()) }
    return this.#block
  }
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 120))
}

function bad(why: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the package cannot be taken: ${why}`)
}

function asBadPackage(error: unknown): FeedmeshError {
  if (isFeedmeshError(error)) return error
  return new FeedmeshError(
    'BAD_PACKAGE',
    `the package is not a sound zip archive: ${(error as Error).message.slice(0, 200)}`,
    {
      cause: error,
    },
  )
}
