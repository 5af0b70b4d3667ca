/** Runs a script of the tests in a process of its own and waits for its end, however it comes. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

export interface ChildOutcome {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number | null
  readonly signal: string | null
}

const TIMEOUT_MS = 60_000

export async function runChild(script: string, args: readonly string[]): Promise<ChildOutcome> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
  try {
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    return { stdout, stderr, exitCode: child.exitCode, signal: child.signalCode }
  } finally {
    clearTimeout(timer)
  }
}
