/**
 * Portable PDBs in a symbols package, under the names by which debuggers ask for them.
 * https://github.com/dotnet/symstore/blob/main/docs/specs/SSQP_Key_Conventions.md (Portable-Pdb-Signature),
 * https://github.com/dotnet/runtime/blob/main/docs/design/specs/PortablePdb-Metadata.md (#Pdb stream)
 */

import type { SymbolFile } from './format.ts'
import type { PackageArchive } from './package-archive.ts'

const MAX_SYMBOL_FILES = 2000
/** The stream headers of a PDB come first; its id is at the start of a stream right behind them. */
const MAX_HEAD_BYTES = 4096

/** What is no portable PDB is passed over: older formats cannot be served by a signature. */
export async function readSymbolFiles(archive: PackageArchive): Promise<SymbolFile[]> {
  const files: SymbolFile[] = []
  for (const entry of archive.entries) {
    if (!/\.pdb$/i.test(entry.fileName)) continue
    if (files.length >= MAX_SYMBOL_FILES) break
    const id = findSignature(await readHead(archive, entry))
    if (id !== undefined) files.push({ path: entry.fileName, id })
  }
  return files
}

async function readHead(archive: PackageArchive, entry: PackageArchive['entries'][number]): Promise<Buffer> {
  const stream = await archive.openEntry(entry)
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of stream as AsyncIterable<Buffer>) {
    pieces.push(piece)
    size += piece.length
    if (size >= MAX_HEAD_BYTES) break
  }
  return Buffer.concat(pieces)
}

/** The GUID of a portable PDB: 32 hex digits in the order debuggers write it. */
export function findSignature(pdb: Buffer): string | undefined {
  if (pdb.length < 32 || pdb.readUInt32LE(0) !== 0x424a5342) return undefined
  let at = 16 + pdb.readUInt32LE(12)
  if (at + 4 > pdb.length) return undefined
  const streams = pdb.readUInt16LE(at + 2)
  at += 4
  for (let count = 0; count < streams && at + 8 <= pdb.length; count += 1) {
    const offset = pdb.readUInt32LE(at)
    const end = pdb.indexOf(0, at + 8)
    if (end < 0) return undefined
    if (pdb.toString('latin1', at + 8, end) === '#Pdb') return readGuid(pdb, offset)
    at += 8 + Math.ceil((end - at - 8 + 1) / 4) * 4
  }
  return undefined
}

function readGuid(pdb: Buffer, offset: number): string | undefined {
  if (offset + 16 > pdb.length) return undefined
  const parts = [
    pdb.subarray(offset, offset + 4).toReversed(),
    pdb.subarray(offset + 4, offset + 6).toReversed(),
    pdb.subarray(offset + 6, offset + 8).toReversed(),
    pdb.subarray(offset + 8, offset + 16),
  ]
  return parts.map((part) => Buffer.from(part).toString('hex')).join('')
}
