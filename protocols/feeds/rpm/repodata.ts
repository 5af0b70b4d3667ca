/** The signed index of an rpm feed: `repomd.xml` and the three lists that it names. */

import type { FeedUnit } from '../../../src/feeds/feed.ts'
import type {
  BuiltIndex,
  EntryContext,
  IndexEntries,
  IndexEntry,
  SignedIndexFormat,
} from '../../../src/feeds/signed-index.ts'
import { findReadable, splitEntriesAt } from '../index-entries.ts'
import { listPackages, type StoredPackage } from './format.ts'
import { decodeMeta, type PackageMeta } from './meta.ts'
import { renderFilelist, renderOther, renderPrimary } from './package-entries.ts'

export const REPOSITORY_INDEX = 'repodata'
export const TOP = 'repomd.xml'
export const SIGNATURE = `${TOP}.asc`

interface List {
  readonly type: string
  readonly document: string
  readonly element: string
  readonly namespaces: string
  readonly render: (stored: StoredPackage, meta: PackageMeta) => string
}

const NAMESPACE = 'http://linux.duke.edu/metadata'

const LISTS: readonly List[] = [
  {
    type: 'primary',
    document: 'primary.xml',
    element: 'metadata',
    namespaces: `xmlns="${NAMESPACE}/common" xmlns:rpm="${NAMESPACE}/rpm"`,
    render: renderPrimary,
  },
  {
    type: 'filelists',
    document: 'filelists.xml',
    element: 'filelists',
    namespaces: `xmlns="${NAMESPACE}/filelists"`,
    render: renderFilelist,
  },
  {
    type: 'other',
    document: 'other.xml',
    element: 'otherdata',
    namespaces: `xmlns="${NAMESPACE}/other"`,
    render: renderOther,
  },
]

const DOCUMENTS = LISTS.map(({ document }) => ({ index: REPOSITORY_INDEX, document }))

async function entriesOf(unit: FeedUnit, context: EntryContext): Promise<readonly IndexEntries[]> {
  const texts = LISTS.map((): string[] => [])
  for (const stored of listPackages(unit)) {
    const meta = await findReadable(async () => decodeMeta(await context.readMeta(stored.row)))
    if (meta !== undefined) for (const [at, { render }] of LISTS.entries()) texts[at]?.push(render(stored, meta))
  }
  if (texts[0]?.length === 0) return []
  return LISTS.map(({ document }, at) => ({
    index: REPOSITORY_INDEX,
    document,
    bytes: Buffer.from((texts[at] ?? []).join('')),
    count: texts[at]?.length ?? 0,
  }))
}

const END = Buffer.from('</package>\n')
/** `<package type="rpm">`, then the name; or the name as an attribute. Texts of packages hold no `<`. */
const NAME = /^<package (?:type="rpm">\n {2}<name>([^<]+)<|pkgid="[0-9a-f]+" name="([^"]+)")/
const HEAD_BYTES = 512

function splitEntries(_document: string, bytes: Buffer): Iterable<IndexEntry> {
  return splitEntriesAt(END, bytes, (entry) => {
    const [, text, value] = NAME.exec(entry.toString('utf8', 0, HEAD_BYTES)) ?? []
    return text ?? value ?? ''
  })
}

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

function frame(document: string, entries: number): { head: Uint8Array; tail: Uint8Array } {
  const list = LISTS.find((candidate) => candidate.document === document)
  if (list === undefined) return { head: new Uint8Array(0), tail: new Uint8Array(0) }
  return {
    head: Buffer.from(`${DECLARATION}<${list.element} ${list.namespaces} packages="${entries}">\n`),
    tail: Buffer.from(`</${list.element}>`),
  }
}

export function documentPath(sha256: string, document: string): string {
  return `${REPOSITORY_INDEX}/${sha256}-${document}`
}

/** Only gz is named: zst is not read by dnf before EL 9. */
function renderRepomd({ builtAtMs, documents }: BuiltIndex): Uint8Array {
  const seconds = Math.floor(builtAtMs / 1000)
  const data = LISTS.flatMap(({ type, document }) => {
    const built = documents.find((candidate) => candidate.document === document)
    if (built === undefined) return []
    const { gz, '': open } = built.encodings
    return [
      `  <data type="${type}">
    <checksum type="sha256">${gz.sha256}</checksum>
    <open-checksum type="sha256">${open.sha256}</open-checksum>
    <location href="${documentPath(gz.sha256, document)}.gz"/>
    <timestamp>${seconds}</timestamp>
    <size>${gz.size}</size>
    <open-size>${open.size}</open-size>
  </data>
`,
    ]
  })
  return Buffer.from(
    `${DECLARATION}<repomd xmlns="${NAMESPACE}/repo" xmlns:rpm="${NAMESPACE}/rpm">\n  <revision>${seconds}</revision>\n${data.join('')}</repomd>\n`,
  )
}

export const repodataIndex: SignedIndexFormat = {
  initial: DOCUMENTS,
  documentsOf: (unit) => (listPackages(unit).length === 0 ? [] : DOCUMENTS),
  entriesOf,
  splitEntries,
  frame,
  top: { path: TOP, signatures: [{ path: SIGNATURE, kind: 'detached' }] },
  renderTop: renderRepomd,
}
