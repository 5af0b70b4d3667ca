/** Folders of an asset feed. A folder is there while a file is in it. */

import type { Feed, UnitSummary } from '../../../src/feeds/feed.ts'
import { escapeHtml } from '../html.ts'
import { type AssetMeta, CONTENT_KEY, CONTENT_ROLE, decodeAssetMeta } from './format.ts'

export interface FolderItem {
  readonly type: 'folder'
  /** Path below the feed, without a slash at its end. */
  readonly path: string
  /** When the first file in it, by name, was written, Unix time in ms: clients want a date, folders have none. */
  readonly writtenAtMs: number
}

export interface FileItem {
  readonly type: 'file'
  readonly path: string
  readonly size: number
  readonly sha256: string
  readonly writtenAtMs: number
  readonly meta: AssetMeta
}

const PAGE = 500
/** Sorts after every path of a folder; no path holds this character. */
const END_OF_FOLDER = '\u{10FFFF}'

/** What lies in `folder` (empty or ending in `/`), in byte order; with `isRecursive` also what lies deeper. */
export async function* listFolder(
  feed: Feed,
  folder: string,
  isRecursive: boolean,
): AsyncIterable<FolderItem | FileItem> {
  let after: string | undefined
  let shown: readonly string[] = []
  for (;;) {
    const step = await listPage(feed, folder, after, isRecursive)
    for (const unit of step.files) {
      if (isRecursive) {
        yield* newFolders(folder, unit, shown)
        shown = foldersOf(folder, unit.unit)
      }
      const item = await findFileItem(feed, unit.unit)
      if (item !== undefined) yield item
    }
    if (step.folder !== undefined) yield step.folder
    if (step.after === undefined) return
    after = step.after
  }
}

export async function findFileItem(feed: Feed, path: string): Promise<FileItem | undefined> {
  const unit = await feed.findUnit(path)
  const row = unit?.rows.find(({ key }) => key === CONTENT_KEY)
  const file = row?.files.find(({ role }) => role === CONTENT_ROLE)
  if (row === undefined || file === undefined) return undefined
  const meta = decodeAssetMeta(await feed.readMeta(row))
  const sha256 = file.digest.slice('sha256:'.length)
  return { type: 'file', path, size: file.size, sha256, writtenAtMs: row.writtenAtMs, meta }
}

/** The folder at `path`; there is none without a file in it. */
export async function findFolder(feed: Feed, path: string): Promise<FolderItem | undefined> {
  for await (const unit of feed.list({ prefix: `${path}/`, limit: 1 })) {
    return { type: 'folder', path, writtenAtMs: unit.changedAtMs }
  }
  return undefined
}

/** Whether any file lies in `folder` (empty or ending in `/`); the root always exists. */
export async function isFolder(feed: Feed, folder: string): Promise<boolean> {
  return folder === '' || (await findFolder(feed, folder.slice(0, -1))) !== undefined
}

interface Page {
  readonly files: readonly UnitSummary[]
  /** The subfolder that ended the page. */
  readonly folder: FolderItem | undefined
  /** Where to go on; undefined at the end. */
  readonly after: string | undefined
}

/** Files up to the next subfolder; the listing then jumps over all that is in it. */
async function listPage(feed: Feed, prefix: string, after: string | undefined, isRecursive: boolean): Promise<Page> {
  const files: UnitSummary[] = []
  for await (const unit of feed.list({ prefix, limit: PAGE, ...(after === undefined ? {} : { after }) })) {
    const slash = isRecursive ? -1 : unit.unit.indexOf('/', prefix.length)
    if (slash !== -1) {
      const folder = unit.unit.slice(0, slash + 1)
      const item: FolderItem = { type: 'folder', path: folder.slice(0, -1), writtenAtMs: unit.changedAtMs }
      return { files, folder: item, after: folder + END_OF_FOLDER }
    }
    files.push(unit)
  }
  return { files, folder: undefined, after: files.length < PAGE ? undefined : files.at(-1)?.unit }
}

function foldersOf(folder: string, path: string): string[] {
  const segments = path.slice(folder.length).split('/').slice(0, -1)
  return segments.map((_segment, at) => folder + segments.slice(0, at + 1).join('/'))
}

function* newFolders(
  folder: string,
  { unit, changedAtMs }: UnitSummary,
  shown: readonly string[],
): Iterable<FolderItem> {
  for (const path of foldersOf(folder, unit)) {
    if (!shown.includes(path)) yield { type: 'folder', path, writtenAtMs: changedAtMs }
  }
}

/** An item in ProGet's JSON. https://docs.inedo.com/docs/proget/api/assets/folders/list */
export function renderItem(item: FolderItem | FileItem, contentUrl: string): Record<string, unknown> {
  const slash = item.path.lastIndexOf('/')
  const parent = slash === -1 ? {} : { parent: item.path.slice(0, slash) }
  const name = item.path.slice(slash + 1)
  const written = new Date(item.writtenAtMs).toISOString()
  if (item.type === 'folder') return { name, ...parent, type: 'dir', created: written, modified: written }
  const { contentType, hashes, userMetadata } = item.meta
  return {
    name,
    ...parent,
    size: item.size,
    type: contentType,
    content: contentUrl + encodePath(item.path),
    ...hashes,
    sha256: item.sha256,
    created: written,
    modified: written,
    ...(Object.keys(userMetadata).length === 0 ? {} : { userMetadata }),
  }
}

export async function* renderJsonListing(
  items: AsyncIterable<FolderItem | FileItem>,
  contentUrl: string,
): AsyncIterable<string> {
  let separator = '['
  for await (const item of items) {
    yield separator + JSON.stringify(renderItem(item, contentUrl))
    separator = ',\n'
  }
  yield separator === '[' ? '[]' : ']'
}

/** A page of plain links, relative to the folder's URL with its slash at the end. */
export async function* renderHtmlListing(
  items: AsyncIterable<FolderItem | FileItem>,
  folder: string,
): AsyncIterable<string> {
  const title = escapeHtml(`/${folder}`)
  yield `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>\n<body><h1>${title}</h1>\n<table>\n`
  yield '<tr><th>Name</th><th>Bytes</th><th>Modified</th></tr>\n'
  if (folder !== '') yield '<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n'
  for await (const item of items) {
    const name = item.path.slice(folder.length) + (item.type === 'folder' ? '/' : '')
    const link = `<a href="./${escapeHtml(encodePath(name))}">${escapeHtml(name)}</a>`
    const [size, modified] =
      item.type === 'folder' ? ['', ''] : [String(item.size), new Date(item.writtenAtMs).toISOString()]
    yield `<tr><td>${link}</td><td>${size}</td><td>${modified}</td></tr>\n`
  }
  yield '</table></body></html>\n'
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}
