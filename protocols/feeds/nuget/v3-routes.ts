/** The documents and files of NuGet's protocol version 3. Who calls: dotnet, nuget.exe from 3.0 on, IDEs. */

import { FeedmeshError } from '../../../src/errors.ts'
import { HotFiles } from '../hot-files.ts'
import { serveFile } from '../serve-file.ts'
import { getVersionRow, getVersionRows, type NugetCall, type NugetHandler, sendDocument, sendJson } from './call.ts'
import { decodeVersionMeta } from './format.ts'
import { findPackageVersion, parsePackageVersion } from './package-version.ts'
import type { PublishedVersion } from './published-package.ts'
import {
  type Hive,
  readHive,
  renderRegistrationIndex,
  renderRegistrationLeaf,
  renderRegistrationPage,
} from './registration.ts'
import { answerAutocomplete, answerSearch } from './search.ts'
import { renderServiceIndex } from './service-index.ts'
import { sendSymbols } from './symbol-routes.ts'

export type SendPackage = (call: NugetCall, id: string, version: string) => Promise<unknown>

export function createSendPackage(): SendPackage {
  const hotFiles = new HotFiles()
  return async ({ request, reply, host }, id, version) => {
    const feed = await host.getFeed(request, 'read')
    const { row, file, version: found } = await getVersionRow(feed, id, version)
    const open = () => feed.open(row, file)
    return serveFile(request, reply, {
      size: file.size,
      etag: `"${file.digest}"`,
      contentType: 'application/octet-stream',
      modifiedAtMs: row.writtenAtMs,
      headers: {
        'content-disposition': `attachment; filename="${encodeURIComponent(row.unit)}.${found.key}.nupkg"`,
        'cache-control': 'private, no-cache',
      },
      open: (range) => feed.open(row, file, range),
      findContent: () => hotFiles.find({ digest: file.digest, size: file.size, open }),
    })
  }
}

/** What answers a GET below `v3`; undefined = nothing. */
export function findV3Handler(segments: readonly string[], sendPackage: SendPackage): NugetHandler | undefined {
  const [area, ...rest] = segments
  if (area === 'index.json' && rest.length === 0) return answerServiceIndex
  if (area === 'query' && rest.length === 0) return answerSearch
  if (area === 'autocomplete' && rest.length === 0) return answerAutocomplete
  if (area === 'flat') return findContentHandler(rest, sendPackage)
  if (area === 'registration') return (call) => answerRegistration(call, rest, false)
  if (area === 'registration-semver2') return (call) => answerRegistration(call, rest, true)
  return undefined
}

async function answerServiceIndex(call: NugetCall): Promise<unknown> {
  await call.host.getFeed(call.request, 'read')
  return sendJson(call, renderServiceIndex(call.host.baseUrl(call.request)))
}

/** https://learn.microsoft.com/nuget/api/package-base-address-resource */
function findContentHandler(segments: readonly string[], sendPackage: SendPackage): NugetHandler | undefined {
  const [id = '', version = '', file, ...more] = segments
  if (more.length > 0) return undefined
  if (version === 'index.json' && file === undefined) return (call) => answerVersions(call, id)
  const name = file?.toLowerCase()
  if (name === `${id}.${version}.snupkg`.toLowerCase()) return (call) => sendSymbols(call, id, version)
  if (name === `${id}.${version}.nupkg`.toLowerCase()) return (call) => sendPackage(call, id, version)
  if (name === `${id}.nuspec`.toLowerCase()) return (call) => answerNuspec(call, id, version)
  return undefined
}

async function answerVersions(call: NugetCall, id: string): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'read')
  const rows = await getVersionRows(feed, id)
  return sendJson(call, { versions: rows.map(({ version }) => version.key) })
}

async function answerNuspec(call: NugetCall, id: string, version: string): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'read')
  const { row } = await getVersionRow(feed, id, version)
  const { nuspec } = decodeVersionMeta(await feed.readMeta(row))
  return sendDocument(call, Buffer.from(nuspec), 'application/xml')
}

async function answerRegistration(call: NugetCall, segments: readonly string[], isSemVer2: boolean): Promise<unknown> {
  const { request, host, published } = call
  const feed = await host.getFeed(request, 'read')
  const [id = '', ...path] = segments
  const hive = { baseUrl: host.baseUrl(request), isSemVer2 }
  const versions = await readHive(feed, await getVersionRows(feed, id), { published, isSemVer2 })
  const document = versions.length === 0 ? undefined : renderRegistration(hive, versions, path)
  if (document !== undefined) return sendJson(call, document)
  throw new FeedmeshError('NOT_FOUND', `no such document about ${JSON.stringify(id.slice(0, 120))}`)
}

/** `index.json`, `page/LOWER/UPPER.json` or `VERSION.json`. */
function renderRegistration(hive: Hive, versions: readonly PublishedVersion[], path: readonly string[]): unknown {
  const id = versions.at(-1)?.nuspec.id ?? ''
  const [, lower, name = ''] = /^(?:page\/([^/]+)\/)?([^/]+)\.json$/.exec(path.join('/')) ?? []
  if (lower !== undefined) {
    const bounds = { lower: parsePackageVersion(lower), upper: parsePackageVersion(name) }
    return renderRegistrationPage(hive, id, { ...bounds, versions })
  }
  if (name === 'index') return renderRegistrationIndex(hive, id, versions)
  const wanted = findPackageVersion(name)
  const found = versions.find(({ version }) => version.key === wanted?.key)
  return found === undefined ? undefined : renderRegistrationLeaf(hive, found)
}
