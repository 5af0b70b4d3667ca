/** What the figures depend on besides the code. */

import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'

export interface MachineFacts {
  readonly at: string
  readonly commit: string
  readonly node: string
  readonly system: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
}

function findCommit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim()
  } catch (error) {
    return `unknown (${(error as NodeJS.ErrnoException).code ?? 'git failed'})`
  }
}

export function readMachineFacts(): MachineFacts {
  const cores = cpus()
  return {
    at: new Date().toISOString(),
    commit: findCommit(),
    node: process.version,
    system: `${process.platform} ${release()} ${process.arch}`,
    cpu: cores[0]?.model ?? 'unknown',
    cores: cores.length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
  }
}
