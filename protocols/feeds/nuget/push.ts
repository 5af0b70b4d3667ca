/**
 * Pushing: the file is stored first, under a name that only this push knows, then read in ranges; only the last step makes
 * rows of it. A refusal leaves bytes that nothing names, which gc takes.
 */

import { randomUUID } from 'node:crypto'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit, UnitChange } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { SealedBlob } from '../../../src/store/blobs.ts'
import {
  encodeSymbolsMeta,
  encodeVersionMeta,
  PACKAGE_ROLE,
  SYMBOLS_ROLE,
  symbolsKey,
  unlistedKey,
  versionKey,
} from './format.ts'
import { type Nuspec, parseNuspec } from './nuspec.ts'
import { openPackageArchive, type PackageArchive, readNuspec } from './package-archive.ts'
import type { PackageVersion } from './package-version.ts'
import { readSymbolFiles } from './symbols.ts'

const ZIP_MAGIC = Buffer.from('PK\x03\x04')

export interface PushedPackage {
  readonly unit: string
  readonly key: string
}

interface Incoming {
  readonly blob: SealedBlob
  readonly archive: PackageArchive
  readonly nuspec: Nuspec
  readonly nuspecBytes: Uint8Array
}

/** @throws BAD_PACKAGE, EXISTS, CONFLICT, TOO_LARGE and what the feed throws */
export function pushPackage(feed: Feed, body: AsyncIterable<Uint8Array>): Promise<PushedPackage> {
  return receive(feed, body, async ({ blob, nuspec, nuspecBytes }) => {
    const { unit, key } = nameOf(nuspec)
    const sha512 = Buffer.from(blob.hashes.sha512 ?? '', 'hex').toString('base64')
    const meta = encodeVersionMeta({ sha512, nuspec: nuspecBytes })
    await feed.change(unit, (current) => {
      verifyNew(current, nuspec, key)
      return { put: [{ key, rowClass: 'immutable', meta, files: [{ role: PACKAGE_ROLE, blob }] }] }
    })
    return { unit, key }
  })
}

/** Symbols of a version that is in the feed. @throws as `pushPackage`; NOT_FOUND without the version */
export function pushSymbols(feed: Feed, body: AsyncIterable<Uint8Array>): Promise<PushedPackage> {
  return receive(feed, body, async ({ blob, nuspec, archive }) => {
    const { unit, key: packageKey } = nameOf(nuspec)
    const key = symbolsKey(nuspec.version.key)
    const meta = encodeSymbolsMeta(await readSymbolFiles(archive))
    await feed.change(unit, (current) => {
      if (current?.rows.some((row) => row.key === packageKey) !== true) {
        const message = `push ${nuspec.id} ${nuspec.originalVersion} before its symbols: it is not in feed ${feed.name}`
        throw new FeedmeshError('NOT_FOUND', message)
      }
      verifyNew(current, nuspec, key)
      return { put: [{ key, rowClass: 'immutable', meta, files: [{ role: SYMBOLS_ROLE, blob }] }] }
    })
    return { unit, key }
  })
}

/** From disk; symbols are known by their name. */
export async function publishFile(feed: Feed, file: NativeFile): Promise<PushedPackage> {
  if (file.size > feed.maxFileBytes) {
    const message = `${file.name} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`
    throw new FeedmeshError('TOO_LARGE', message)
  }
  const isSymbols = /\.(?:snupkg|symbols\.nupkg)$/i.test(file.name)
  return isSymbols ? pushSymbols(feed, file.open()) : pushPackage(feed, file.open())
}

/** @throws NOT_FOUND */
export async function setListed(feed: Feed, id: string, version: PackageVersion, isListed: boolean): Promise<void> {
  await feed.change(id.toLowerCase(), (current): UnitChange => {
    const has = (key: string) => current?.rows.some((row) => row.key === key) === true
    if (!has(versionKey(version.key))) {
      throw new FeedmeshError('NOT_FOUND', `${id.slice(0, 120)} ${version.normalized} is not in feed ${feed.name}`)
    }
    const key = unlistedKey(version.key)
    if (has(key) === !isListed) return {}
    return isListed ? { drop: [key] } : { put: [{ key, rowClass: 'flag', meta: new Uint8Array(), files: [] }] }
  })
}

function nameOf({ id, version }: Nuspec): PushedPackage {
  return { unit: id.toLowerCase(), key: versionKey(version.key) }
}

function verifyNew(unit: FeedUnit | undefined, { id, version }: Nuspec, key: string): void {
  if (unit?.rows.some((row) => row.key === key) === true)
    throw new FeedmeshError('EXISTS', `${id} ${version.normalized} exists already and cannot be replaced`)
  if (unit?.blocked.includes(key) === true)
    throw new FeedmeshError(
      'CONFLICT',
      `${id} ${version.normalized} is blocked: two sources hold different bytes of it`,
    )
}

async function receive(
  feed: Feed,
  body: AsyncIterable<Uint8Array>,
  store: (incoming: Incoming) => Promise<PushedPackage>,
): Promise<PushedPackage> {
  const blob = await seal(feed, body)
  const holder = `push ${randomUUID()}`
  await feed.uploads.keep(holder, blob)
  try {
    const open = (range: { readonly start: number; readonly end: number }) =>
      feed.uploads.open(holder, blob.digest, range)
    using archive = await openPackageArchive({ size: blob.size, open })
    const nuspecBytes = await readNuspec(archive)
    return await store({ blob, archive, nuspec: parseNuspec(nuspecBytes), nuspecBytes })
  } finally {
    await feed.uploads.forget(holder, [blob.digest])
  }
}

/** What does not even start as a zip is not stored at all. */
async function seal(feed: Feed, body: AsyncIterable<Uint8Array>): Promise<SealedBlob> {
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes, hashes: ['sha512'] })
  let magic = Buffer.alloc(0)
  for await (const chunk of body) {
    if (magic.length < ZIP_MAGIC.length) {
      magic = Buffer.concat([magic, chunk.subarray(0, ZIP_MAGIC.length - magic.length)])
      if (!ZIP_MAGIC.subarray(0, magic.length).equals(magic)) throw notPackage()
    }
    await staged.write(chunk)
  }
  if (magic.length < ZIP_MAGIC.length) throw notPackage()
  return await staged.seal()
}

function notPackage(): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', 'the upload is not a NuGet package: it does not start as a zip archive')
}
