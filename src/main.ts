/** The process: arguments, environment, signals and exit. Nothing else reads or does these. */

import { homedir } from 'node:os'
import { runCommandLine } from './cli/command-line.ts'

const INTERRUPTED = 130

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exit(1)
}

process.on('unhandledRejection', fail)
process.on('uncaughtException', fail)

// Whoever reads our output may stop reading: `feedmesh runs | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  fail(error)
})

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(INTERRUPTED)
    stopping.abort()
  })
}

const exitCode = await runCommandLine({
  argv: process.argv.slice(2),
  env: process.env,
  home: homedir(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stopping.signal,
})
await new Promise((resolve) => process.stdout.write('', resolve))
process.exit(exitCode)
