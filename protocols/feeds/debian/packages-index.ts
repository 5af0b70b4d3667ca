/**
 * The signed index of a suite: `Release` and a `Packages` for each component and architecture.
 * https://wiki.debian.org/DebianRepository/Format
 */

import type { FeedUnit } from '../../../src/feeds/feed.ts'
import {
  type BuiltIndex,
  type EntryContext,
  INDEX_ENCODINGS,
  type IndexDocument,
  type IndexEntries,
  type IndexEntry,
  type SignedIndexFormat,
} from '../../../src/feeds/signed-index.ts'
import { findReadable, splitEntriesAt } from '../index-entries.ts'
import {
  DEFAULT_COMPONENT,
  DEFAULT_SUITE,
  decodePackageMeta,
  listPackages,
  renderParagraph,
  type StoredPackage,
} from './format.ts'

/** There from the first day, so that machines of these can be set up before the first package. */
const FIRST_ARCHITECTURES = ['amd64', 'arm64']

function documentOf(component: string, architecture: string): string {
  return `${component}/binary-${architecture}/Packages`
}

function splitDocument(document: string): { readonly component: string; readonly architecture: string } {
  const [component = '', folder = ''] = document.split('/')
  return { component, architecture: folder.replace(/^binary-/, '') }
}

function* documentsOf(unit: FeedUnit): Generator<IndexDocument> {
  for (const { key } of listPackages(unit)) {
    const architectures = key.architecture === 'all' ? FIRST_ARCHITECTURES : [...FIRST_ARCHITECTURES, key.architecture]
    for (const architecture of architectures)
      yield { index: key.suite, document: documentOf(key.component, architecture) }
  }
}

/** Packages for all architectures are in each one's list. */
function targetsOf({ key }: StoredPackage, context: EntryContext): readonly string[] {
  if (key.architecture !== 'all') return [documentOf(key.component, key.architecture)]
  return context.documents(key.suite).filter((document) => document.startsWith(`${key.component}/`))
}

async function renderStored(name: string, stored: StoredPackage, context: EntryContext): Promise<string> {
  const meta = decodePackageMeta(name, stored.key, await context.readMeta(stored.row))
  return renderParagraph(name, stored, meta)
}

async function entriesOf(unit: FeedUnit, context: EntryContext): Promise<readonly IndexEntries[]> {
  const texts = new Map<string, { readonly target: IndexDocument; readonly paragraphs: string[] }>()
  for (const stored of listPackages(unit)) {
    const paragraph = await findReadable(() => renderStored(unit.unit, stored, context))
    if (paragraph === undefined) continue
    for (const document of targetsOf(stored, context)) {
      const target = { index: stored.key.suite, document }
      const name = `${target.index} ${document}`
      const known = texts.get(name) ?? { target, paragraphs: [] }
      texts.set(name, known)
      known.paragraphs.push(paragraph)
    }
  }
  return [...texts.values()].map(({ target, paragraphs }) => ({
    ...target,
    bytes: Buffer.from(paragraphs.join('')),
    count: paragraphs.length,
  }))
}

const FIELD = Buffer.from('Package: ')
const END = Buffer.from('\n\n')

/** Every paragraph begins with the name of its package. */
function splitEntries(_document: string, bytes: Buffer): Iterable<IndexEntry> {
  return splitEntriesAt(END, bytes, (entry) => entry.toString('utf8', FIELD.length, entry.indexOf(0x0a)))
}

function renderRelease({ feedName, index, builtAtMs, documents }: BuiltIndex): Uint8Array {
  const parts = documents.map(({ document }) => splitDocument(document))
  const distinct = (names: readonly string[]) => [...new Set(names)].sort().join(' ')
  const lines = [
    `Origin: ${feedName}`,
    `Label: ${feedName}`,
    `Suite: ${index}`,
    `Codename: ${index}`,
    `Date: ${new Date(builtAtMs).toUTCString().replace('GMT', 'UTC')}`,
    `Architectures: ${distinct(parts.map(({ architecture }) => architecture))}`,
    `Components: ${distinct(parts.map(({ component }) => component))}`,
    'Acquire-By-Hash: yes',
    'SHA256:',
  ]
  // The text itself has to be named, too: apt ignores what it knows only packed.
  for (const { document, encodings } of documents)
    for (const encoding of INDEX_ENCODINGS) {
      const { sha256, size } = encodings[encoding]
      lines.push(` ${sha256} ${size} ${document}${encoding === '' ? '' : `.${encoding}`}`)
    }
  return Buffer.from(`${lines.join('\n')}\n`)
}

const NOTHING = new Uint8Array(0)

export const packagesIndex: SignedIndexFormat = {
  initial: FIRST_ARCHITECTURES.map((architecture) => ({
    index: DEFAULT_SUITE,
    document: documentOf(DEFAULT_COMPONENT, architecture),
  })),
  documentsOf,
  entriesOf,
  splitEntries,
  frame: () => ({ head: NOTHING, tail: NOTHING }),
  top: {
    path: 'Release',
    signatures: [
      { path: 'InRelease', kind: 'clear' },
      { path: 'Release.gpg', kind: 'detached' },
    ],
  },
  renderTop: renderRelease,
}
