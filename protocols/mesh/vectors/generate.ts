/**
 * Writes the vectors of all protocols of the mesh: `node protocols/mesh/vectors/generate.ts`, with `--check` compares only.
 * Everything in them follows from fixed seeds and times, so that a difference means that a format has changed.
 */

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { grantVectors, proofVectors, tokenVectors } from './access.ts'
import { choiceVectors, forkVectors } from './forks.ts'
import { messageVectors } from './messages.ts'
import { charterVectors, envelopeVectors, listVectors, manifestVectors } from './objects.ts'
import { itemVectors, operationVectors, rowVectors, tombstoneVectors } from './rows.ts'
import { nodeVectors, segmentVectors, trieVectors } from './tries.ts'
import type { Vector } from './vector.ts'
import { viewVectors } from './views.ts'

export const MESH = resolve(import.meta.dirname, '..')
const FOLDERS = ['vectors', 'sync/vectors', 'link/vectors', 'blob/vectors', 'announce/vectors', 'bulk/vectors', 'nearby/vectors'].map((name) => join(MESH, name))

function allVectors(): Vector[] {
  return [
    ...envelopeVectors(),
    ...charterVectors(),
    ...manifestVectors(),
    ...forkVectors(),
    ...choiceVectors(),
    ...listVectors(),
    ...grantVectors(),
    ...tokenVectors(),
    ...itemVectors(),
    ...rowVectors(),
    ...operationVectors(),
    ...tombstoneVectors(),
    ...trieVectors(),
    ...viewVectors(),
    ...proofVectors(),
    ...nodeVectors(),
    ...segmentVectors(),
    ...messageVectors(),
  ]
}

/** Text of every file, by its path below `protocols/mesh`. */
export function renderVectors(): Map<string, string> {
  const files = new Map<string, string>()
  for (const { folder, kind, what, facts, bytes } of allVectors()) {
    const path = `${folder}/vector.json`
    if (files.has(path)) throw new Error(`two vectors ${folder}`)
    files.set(path, `${JSON.stringify({ kind, what, ...facts }, null, 2)}\n`)
    for (const [name, content] of Object.entries(bytes))
      files.set(`${folder}/${name}.hex`, `${Buffer.from(content).toString('hex')}\n`)
  }
  return files
}

/** What is on disk below the folders of vectors, but for programs and this explanation of them. */
export async function readVectors(): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  for (const folder of FOLDERS) {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
      const path = join(entry.parentPath, entry.name)
      if (entry.isFile() && /\.(?:hex|json)$/.test(entry.name)) files.set(relative(MESH, path), await readFile(path, 'utf8'))
    }
  }
  return files
}

/** Paths whose content is another, missing or too many. */
export function compareVectors(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): string[] {
  return [...new Set([...expected.keys(), ...found.keys()])].filter((path) => expected.get(path) !== found.get(path)).sort()
}

async function writeVectors(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): Promise<void> {
  for (const path of compareVectors(expected, found)) {
    const content = expected.get(path)
    if (content === undefined) await rm(join(MESH, path))
    else {
      await mkdir(dirname(join(MESH, path)), { recursive: true })
      await writeFile(join(MESH, path), content)
    }
  }
}

if (import.meta.main) {
  const [expected, found] = [renderVectors(), await readVectors()]
  const changed = compareVectors(expected, found)
  if (process.argv.includes('--check')) {
    for (const path of changed) console.error(path)
    process.exitCode = changed.length > 0 ? 1 : 0
  } else {
    await writeVectors(expected, found)
    console.log(`${expected.size} files, ${changed.length} changed`)
  }
}
