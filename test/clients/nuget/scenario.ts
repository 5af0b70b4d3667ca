/** What a nuget client has to be able to do with a feed; runs against any node that serves one. */

import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createPackage } from '../../feeds/nuget-package.ts'
import type { NugetBench } from './drivers.ts'

/** A library in three versions, one of which depends on nothing that is there, and one tool that needs the library. */
export const NUGET_PACKAGES = [
  { id: 'Acme.Lib', version: '1.0.0' },
  { id: 'Acme.Lib', version: '1.10' },
  { id: 'Acme.Lib', version: '2.0.0-beta' },
  {
    id: 'acme.tool',
    version: '0.1.0',
    more: '<dependencies><dependency id="Acme.Lib" version="[1.0,2.0)" /></dependencies>',
  },
] as const

export async function publishPackages({ folder, ok, attempt }: NugetBench, key: string): Promise<void> {
  for (const spec of NUGET_PACKAGES) {
    const name = `${spec.id}.${spec.version}.nupkg`
    await writeFile(join(folder, name), createPackage(spec))
    await ok('push', name, key)
  }
  const again = await attempt('push', 'Acme.Lib.1.10.nupkg', key)
  assert.notEqual(again.exitCode, 0)
  assert.match(again.stdout + again.stderr, /exists already|409|Conflict/)
}

export async function listPackages({ ok }: NugetBench): Promise<string[]> {
  const lines = (await ok('list', '-AllVersions', '-Prerelease')).split('\n').map((line) => line.trim())
  return lines.filter((line) => /^acme\./i.test(line)).sort()
}

/** Installs the tool, which brings the newest library it may use, and compares every byte. */
export async function installPackages({ folder, ok }: NugetBench): Promise<void> {
  await ok('install', 'acme.tool', '-OutputDirectory', 'installed', '-NoCache')
  const installed = (await readdir(join(folder, 'installed'))).map((name) => name.toLowerCase()).sort()
  assert.equal(installed.length, 2)
  assert.equal(installed[1], 'acme.tool.0.1.0')
  assert.match(installed[0] ?? '', /^acme\.lib\.1\.(?:0\.0|10(?:\.0)?)$/)
  const library = (await readdir(join(folder, 'installed'))).find((name) => /^acme\.lib/i.test(name)) ?? ''
  const version = /lib\.1\.0/i.test(library) ? '1.0.0' : '1.10'
  const files = await readdir(join(folder, 'installed', library))
  const nupkg = files.find((name) => name.endsWith('.nupkg')) ?? ''
  const expected = createPackage({ id: 'Acme.Lib', version })
  assert.ok(expected.equals(await readFile(join(folder, 'installed', library, nupkg))))
  const text = await readFile(join(folder, 'installed', library, 'content/readme.txt'), 'utf8')
  assert.match(text, new RegExp(`^Acme.Lib ${version.replaceAll('.', '\\.')}\n`))
}

/** Pushes more versions than a page of a package's metadata holds, and installs the newest, and one of the first page. */
export async function installFromPages(
  { folder, ok }: NugetBench,
  push: (content: Buffer) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < 70; at += 1) await push(createPackage({ id: 'Many', version: `1.${at}.0` }))
  const tool = {
    id: 'needs.many',
    version: '1.0.0',
    more: '<dependencies><dependency id="Many" version="[1.68.0,1.69.0)" /></dependencies>',
  }
  await push(createPackage(tool))
  for (const [id, version, installed] of [
    ['Many', '', 'many.1.69.0'],
    ['Many', '1.3.0', 'many.1.3.0'],
    ['needs.many', '', 'many.1.68.0'],
  ] as const) {
    const exact = version === '' ? [] : ['-Version', version]
    await ok('install', id, ...exact, '-OutputDirectory', installed, '-NoCache')
    const names = (await readdir(join(folder, installed))).map((name) => name.toLowerCase())
    assert.ok(names.includes(installed), `${id} ${version}: ${names.join(' ')}`)
  }
}
