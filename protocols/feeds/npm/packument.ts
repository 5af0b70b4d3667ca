/**
 * Renders packuments. A version's part is rendered once and kept by the digest of its rows, so that a publish into a
 * package of many versions renders one part; whole documents are kept by the digest of the package.
 */

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Feed, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import {
  type DocumentKind,
  decodeVersionRecord,
  renderBaseUrl,
  renderVersion,
  type VersionFragment,
  type VersionRecord,
} from './format.ts'
import { type PackageView, readPackage, renderRev, resolveTags } from './package-view.ts'

const gzipAsync = promisify(gzip)

const MAX_FRAGMENT_CACHE_BYTES = 32 * 1024 ** 2
const MAX_DOCUMENT_CACHE_BYTES = 32 * 1024 ** 2
/** Below this a gzip'd answer saves no packet. */
const MIN_GZIP_BYTES = 1024
/** Manifests read at a time while a document is rendered. */
const READ_AHEAD = 32
/** Output of the compressor that one hop to its thread and back brings, bytes. */
const GZIP_PIECE_BYTES = 256 * 1024

const NO_COMMA = Buffer.alloc(0)
const COMMA = Buffer.from(',')
const NO_FRAGMENT: VersionFragment = { head: NO_COMMA, tail: NO_COMMA }

export interface DocumentRequest {
  readonly feed: Feed
  readonly unit: FeedUnit
  readonly kind: DocumentKind
  readonly baseUrl: string
}

export interface Packument {
  readonly body: Buffer
  /** With gzip. */
  readonly isCompressed: boolean
}

export class Packuments {
  readonly #fragments = new ByteCache<VersionFragment>(MAX_FRAGMENT_CACHE_BYTES)
  readonly #documents = new ByteCache<Buffer>(MAX_DOCUMENT_CACHE_BYTES)
  readonly #rendering = new Map<string, Promise<Buffer>>()
  #renderedFragments = 0

  /** Versions rendered so far; what the caches could not answer. */
  get renderedFragments(): number {
    return this.#renderedFragments
  }

  /** The document as the client takes it, or undefined when no version of the package is left. */
  async find(request: DocumentRequest, acceptEncoding: string | undefined): Promise<Packument | undefined> {
    const key = cacheKey(request)
    const plain =
      this.#documents.find(`${key} identity`) ?? (await this.#once(`${key} identity`, () => this.#render(request)))
    if (plain.length === 0) return undefined
    if (chooseEncoding(acceptEncoding, plain.length) === 'identity') return { body: plain, isCompressed: false }
    const compress = () => gzipAsync(plain, { level: 5, chunkSize: GZIP_PIECE_BYTES })
    const body = this.#documents.find(`${key} gzip`) ?? (await this.#once(`${key} gzip`, compress))
    return { body, isCompressed: true }
  }

  async #once(key: string, create: () => Promise<Buffer>): Promise<Buffer> {
    const known = this.#rendering.get(key)
    if (known !== undefined) return known
    const rendering = create()
    this.#rendering.set(key, rendering)
    try {
      const document = await rendering
      this.#documents.set(key, document, document.length)
      return document
    } finally {
      this.#rendering.delete(key)
    }
  }

  async #render(request: DocumentRequest): Promise<Buffer> {
    const view = await readPackage(request.feed, request.unit)
    if (view.versions.size === 0) return Buffer.alloc(0)
    const root = await renderRoot(request, view)
    const base = renderBaseUrl(request.baseUrl)
    const parts: Buffer[] = [Buffer.from(`${JSON.stringify(root).slice(0, -1)},"versions":{`)]
    let comma = NO_COMMA
    for (const { head, tail } of await this.#fragmentsOf(request, view)) {
      parts.push(comma, head, base, tail)
      comma = COMMA
    }
    parts.push(Buffer.from('}}'))
    return Buffer.concat(parts)
  }

  /** In order of the versions. After a publish all but one are known, and nothing is waited for but that one. */
  async #fragmentsOf(request: DocumentRequest, view: PackageView): Promise<VersionFragment[]> {
    const fragments: VersionFragment[] = []
    const missing: { readonly at: number; readonly key: string; readonly version: string; readonly row: FeedRow }[] = []
    for (const [version, row] of view.versions) {
      const key = `${request.kind} ${row.digest} ${view.deprecated.get(version)?.row.digest ?? ''}`
      const known = this.#fragments.find(key)
      if (known === undefined) missing.push({ at: fragments.length, key, version, row })
      fragments.push(known ?? NO_FRAGMENT)
    }
    for (let start = 0; start < missing.length; start += READ_AHEAD) {
      const batch = missing.slice(start, start + READ_AHEAD)
      await Promise.all(
        batch.map(async ({ at, key, version, row }) => {
          const record = decodeVersionRecord(await request.feed.readMeta(row))
          const fragment = renderMember(
            version,
            renderVersion(record, view.deprecated.get(version)?.message, request.kind),
          )
          this.#renderedFragments += 1
          this.#fragments.set(key, fragment, fragment.head.length + fragment.tail.length)
          fragments[at] = fragment
        }),
      )
    }
    return fragments
  }
}

/** With the version's name in front, as it stands in the document. */
function renderMember(version: string, { head, tail }: VersionFragment): VersionFragment {
  return { head: Buffer.concat([Buffer.from(`${JSON.stringify(version)}:`), head]), tail }
}

/** Whether compressing is worth it and the client takes it. */
function chooseEncoding(acceptEncoding: string | undefined, bytes: number): 'identity' | 'gzip' {
  return bytes >= MIN_GZIP_BYTES &&
    /(?:^|,)\s*(?:x-)?gzip\s*(?:,|$|;\s*q=(?!0(?:\.0*)?\s*(?:,|$)))/i.test(acceptEncoding ?? '')
    ? 'gzip'
    : 'identity'
}

function cacheKey({ feed, unit, kind, baseUrl }: DocumentRequest): string {
  return `${feed.name} ${unit.digest} ${kind} ${baseUrl}`
}

async function renderRoot({ feed, kind }: DocumentRequest, view: PackageView): Promise<Record<string, unknown>> {
  const { unit } = view
  const tags = resolveTags(view)
  const time = renderTime(view)
  const shared = { name: unit.unit, 'dist-tags': Object.fromEntries(tags), time }
  if (kind === 'abbreviated') return { ...shared, modified: time.modified }
  const identity = { _id: unit.unit, _rev: renderRev(unit), ...shared }
  if (kind === 'write') return identity
  const latest = view.versions.get(tags.get('latest') ?? '')
  const { root }: Pick<VersionRecord, 'root'> =
    latest === undefined ? { root: {} } : decodeVersionRecord(await feed.readMeta(latest))
  return { ...root, ...identity }
}

/** From the rows alone, so that every node gives the same times. */
function renderTime(view: PackageView): Record<string, string> {
  const written = [...view.versions].map(([version, row]) => [version, row.writtenAtMs] as const)
  const created = written.reduce((first, [, at]) => Math.min(first, at), Number.POSITIVE_INFINITY)
  const modified = view.unit.rows.reduce((last, row) => Math.max(last, row.writtenAtMs), 0)
  const times = [['created', created], ['modified', modified], ...written] as const
  return Object.fromEntries(times.map(([name, at]) => [name, new Date(at).toISOString()]))
}
