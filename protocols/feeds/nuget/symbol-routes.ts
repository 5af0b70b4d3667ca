/**
 * Symbols out: the pushed package beside its .nupkg, and single PDBs as debuggers ask a symbol server for them,
 * `symbols/FILE.pdb/<GUID>FFFFFFFF/FILE.pdb`. https://github.com/dotnet/symstore/blob/main/docs/specs/SSQP_Key_Conventions.md
 */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedFile, FeedRow } from '../../../src/feeds/feed.ts'
import { UNTRUSTED_HEADERS } from '../html.ts'
import { serveFile } from '../serve-file.ts'
import type { NugetCall } from './call.ts'
import { decodeSymbolsMeta, findPackageKey, SYMBOLS_ROLE, symbolsKey } from './format.ts'
import { isPackageId } from './nuspec.ts'
import { openPackageArchive } from './package-archive.ts'
import type { PackageCatalog } from './package-catalog.ts'
import { findPackageVersion } from './package-version.ts'

export async function sendSymbols({ request, reply, host }: NugetCall, id: string, version: string): Promise<unknown> {
  const feed = await host.getFeed(request, 'read')
  const key = symbolsKey(findPackageVersion(version)?.key ?? '')
  const unit = isPackageId(id) ? await feed.findUnit(id.toLowerCase()) : undefined
  const row = unit?.rows.find((one) => one.key === key)
  const file = row?.files.find(({ role }) => role === SYMBOLS_ROLE)
  if (row === undefined || file === undefined)
    throw new FeedmeshError('NOT_FOUND', `no symbols of ${JSON.stringify(id.slice(0, 120))} in feed ${feed.name}`)
  return serveFile(request, reply, {
    size: file.size,
    etag: `"${file.digest}"`,
    contentType: 'application/octet-stream',
    modifiedAtMs: row.writtenAtMs,
    headers: { 'cache-control': 'private, no-cache' },
    open: (range) => feed.open(row, file, range),
  })
}

export async function answerSymbolFile(
  { request, reply, host, catalog }: NugetCall,
  name: string,
  key: string,
): Promise<unknown> {
  const feed = await host.getFeed(request, 'read')
  const id = /^([0-9a-f]{32})ffffffff$/i.exec(key)?.[1]?.toLowerCase()
  for await (const unit of id === undefined ? [] : listWithSymbols(catalog, feed)) {
    const found = await findSymbolFile(feed, unit, { name: name.toLowerCase(), id: id ?? '' })
    if (found === undefined) continue
    const { row, file, path } = found
    const archive = await openPackageArchive({ size: file.size, open: (range) => feed.open(row, file, range) })
    const entry = archive.entries.find(({ fileName }) => fileName === path)
    if (entry === undefined) throw new FeedmeshError('CORRUPT', `the symbols of ${unit} do not hold ${path}`)
    const headers = {
      'content-type': 'application/octet-stream',
      'cache-control': 'private, no-cache',
      ...UNTRUSTED_HEADERS,
    }
    reply.headers(headers).header('content-length', entry.uncompressedSize)
    return reply.send(request.method === 'HEAD' ? undefined : await archive.openEntry(entry))
  }
  throw new FeedmeshError(
    'NOT_FOUND',
    `no symbols ${JSON.stringify(name.slice(0, 120))} of that id in feed ${feed.name}`,
  )
}

async function* listWithSymbols(catalog: PackageCatalog, feed: Feed): AsyncGenerator<string> {
  for await (const page of catalog.list(feed)) for (const { unit, hasSymbols } of page) if (hasSymbols) yield unit
}

async function findSymbolFile(
  feed: Feed,
  name: string,
  wanted: { readonly name: string; readonly id: string },
): Promise<{ readonly row: FeedRow; readonly file: FeedFile; readonly path: string } | undefined> {
  const unit = await feed.findUnit(name)
  for (const row of unit?.rows ?? []) {
    const file = row.files.find(({ role }) => role === SYMBOLS_ROLE)
    if (findPackageKey(row.key)?.kind !== 'symbols' || file === undefined) continue
    const files = decodeSymbolsMeta(await feed.readMeta(row))
    const match = files.find(({ path, id }) => id === wanted.id && baseName(path) === wanted.name)
    if (match !== undefined) return { row, file, path: match.path }
  }
  return undefined
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1).toLowerCase()
}
