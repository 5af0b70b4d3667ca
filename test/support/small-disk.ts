/** A small disk of its own for one test: a tmpfs, where the machine allows it. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SmallDisk {
  readonly path: string
  unmount(): void
}

/** undefined, with the reason, where no disk can be mounted. */
export function mountSmallDisk(megabytes: number): SmallDisk | { readonly skip: string } {
  const path = mkdtempSync(join(tmpdir(), 'feedmesh-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], { stdio: 'pipe' })
  } catch (error) {
    rmdirSync(path)
    return { skip: `no tmpfs can be mounted here: ${(error as Error).message.split('\n')[0]}` }
  }
  const unmount = () => {
    execFileSync('umount', [path])
    rmdirSync(path)
  }
  return { path, unmount }
}
