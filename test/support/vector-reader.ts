/** Reads the vectors of `protocols/mesh` from their files, knowing nothing of the programs that wrote them. */

import { readdir, readFile } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import type { Row } from '../../src/catalog/row.ts'

const MESH = resolve(import.meta.dirname, '../../protocols/mesh')

export interface StoredVector {
  /** Folder below `protocols/mesh`. */
  readonly name: string
  readonly kind: string
  /** Whether its folder's name says that it must be refused. */
  readonly mustRefuse: boolean
  readonly facts: Readonly<Record<string, unknown>>
  /** The bytes of a file of the folder. */
  bytes(file: string): Buffer
}

async function readFolder(folder: string): Promise<StoredVector> {
  const facts = JSON.parse(await readFile(join(folder, 'vector.json'), 'utf8')) as Record<string, unknown>
  const files = (await readdir(folder)).filter((file) => file.endsWith('.hex'))
  const contents = new Map<string, Buffer>()
  for (const file of files) contents.set(file, Buffer.from((await readFile(join(folder, file), 'utf8')).trim(), 'hex'))
  const name = relative(MESH, folder)
  const bytes = (file: string): Buffer => {
    const content = contents.get(file)
    if (content === undefined) throw new Error(`${name} has no file ${file}`)
    return content
  }
  return { name, kind: String(facts.kind), mustRefuse: name.endsWith('-refuse'), facts, bytes }
}

export async function readStoredVectors(): Promise<StoredVector[]> {
  const entries = await readdir(MESH, { recursive: true, withFileTypes: true })
  const folders = entries.filter((entry) => entry.name === 'vector.json').map((entry) => entry.parentPath)
  return await Promise.all(folders.sort().map(readFolder))
}

/** As README.md writes values down: bytes as `h'…'`, 64-bit numbers as decimal text. */
export function asWritten(value: unknown): unknown {
  if (value instanceof Uint8Array) return `h'${Buffer.from(value).toString('hex')}'`
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(asWritten)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, asWritten(inner)]))
}

export function readBytes(written: unknown): Buffer {
  const found = /^h'([0-9a-f]*)'$/.exec(String(written))
  if (found === null) throw new Error(`not bytes: ${String(written)}`)
  return Buffer.from(found[1] ?? '', 'hex')
}

/** A row from what is written of it. */
export function readRow(written: unknown): Row {
  const row = written as Row & { readonly meta: unknown; readonly stamp: unknown }
  const meta = String(row.meta)
  return { ...row, stamp: BigInt(String(row.stamp)), meta: meta.startsWith("h'") ? readBytes(meta) : Buffer.from(meta) }
}
