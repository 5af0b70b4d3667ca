/** Publish documents as npm sends them, with real tarballs. */

import { randomBytes } from 'node:crypto'
import { createPublishBody } from '../feeds/npm-package.ts'

export interface PublishedVersion {
  readonly name: string
  readonly version: string
  /** Size of a file in the tarball that does not compress. */
  readonly fileBytes: number
}

const MANIFEST = {
  description: 'a package of a benchmark',
  main: 'index.js',
  license: 'MIT',
  author: { name: 'Bench' },
  scripts: { test: 'node --test' },
  repository: { type: 'git', url: 'git+ssh://git@forge.invalid/bench/bench.git' },
  dependencies: { left: '^1.0.0', right: '~2.3.4' },
  devDependencies: { typescript: '7.0.2' },
  engines: { node: '>=18' },
  keywords: ['bench', 'npm', 'registry'],
}

export async function createDocument({ name, version, fileBytes }: PublishedVersion): Promise<Buffer> {
  const files = [{ name: 'package/data.bin', content: randomBytes(fileBytes) }]
  return Buffer.from(JSON.stringify(await createPublishBody({ name, version, manifest: MANIFEST, files })))
}

export function versionNames(prefix: string, packages: number, versions: number): { name: string; version: string }[] {
  const names: { name: string; version: string }[] = []
  for (let number = 0; number < versions; number += 1) {
    for (let at = 0; at < packages; at += 1) names.push({ name: `${prefix}-${at}`, version: `1.0.${number}` })
  }
  return names
}
