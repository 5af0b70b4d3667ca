/** Real packages: those that Debian ships, downloaded for the test and gone with it. */

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { findProgram, run } from '../clients/run-client.ts'

const PACKAGES = ['nupkg-newtonsoft.json.6.0.8', 'nupkg-nunit.2.6.4']

/** Paths of the .nupkg files; undefined where they cannot be had. */
export async function findDebianPackages(t: TestContext): Promise<string[] | undefined> {
  const [apt, dpkg] = [findProgram('apt-get'), findProgram('dpkg')]
  if (apt === undefined || dpkg === undefined) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-nupkg-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const options = { cwd: folder, env: { HOME: folder } }
  if ((await run(apt, ['download', ...PACKAGES], options)).exitCode !== 0) return undefined
  for (const name of await readdir(folder)) await run(dpkg, ['-x', name, 'x'], options)
  const shipped = join(folder, 'x/usr/share/nupkg')
  const names = (await readdir(shipped)).filter((name) => name.endsWith('.nupkg'))
  return names.map((name) => join(shipped, name))
}
