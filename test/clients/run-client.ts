/** Runs real package clients: own home, bounded time, nothing left behind. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'

const ROOT = join(import.meta.dirname, '../..')
const MAX_RUN_MS = 60_000
const MAX_OUTPUT_CHARACTERS = 1024 * 1024

/** Where `install.sh` puts clients. */
export const CLIENTS_FOLDER = process.env.FEEDMESH_CLIENTS ?? join(ROOT, 'node_modules/.cache/feedmesh-clients')

export interface Command {
  readonly file: string
  /** Arguments that come before all others. */
  readonly prefix: readonly string[]
}

export interface RunOptions {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** What to type when the client has asked for it, in this order. */
  readonly answers?: readonly Answer[]
}

export interface Answer {
  readonly prompt: string
  readonly reply: string
}

export interface RunResult {
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
}

/** A program on PATH, or undefined. */
export function findProgram(name: string): Command | undefined {
  for (const folder of [join(ROOT, 'node_modules/.bin'), ...(process.env.PATH ?? '').split(delimiter)]) {
    const file = join(folder, name)
    if (isExecutable(file)) return { file, prefix: [] }
  }
  return undefined
}

/** A program that `install.sh` has put into the clients' folder; scripts run on this Node. */
export function findInstalled(client: string, path: string): Command | undefined {
  const file = join(CLIENTS_FOLDER, client, 'node_modules', path)
  if (!existsSync(file)) return undefined
  return /\.c?js$/.test(file) ? { file: process.execPath, prefix: [file] } : { file, prefix: [] }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false // what cannot be executed is not the program that is looked for
  }
}

/** An empty folder that goes with the test. */
export async function createFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-client-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Resolves when the client and all it started have ended. @throws when it takes longer than a minute */
export async function run(command: Command, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const child = spawn(command.file, [...command.prefix, ...args], {
    cwd: options.cwd,
    env: { PATH: process.env.PATH ?? '', ...options.env },
    detached: true,
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      if (output[name].length < MAX_OUTPUT_CHARACTERS) output[name] += text
    })
  }
  typeAnswers(child, options.answers ?? [])
  const line = [command.file, ...command.prefix, ...args].join(' ')
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      endGroup(child.pid)
      reject(new Error(`${line} took longer than ${MAX_RUN_MS} ms\n${output.stdout}\n${output.stderr}`))
    }, MAX_RUN_MS)
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({ exitCode: code ?? undefined, ...output })
    })
  })
}

function typeAnswers({ stdin, stdout }: ChildProcessWithoutNullStreams, answers: readonly Answer[]): void {
  // A client that ends without reading its input is no error of the test.
  stdin.on('error', () => undefined)
  const open = [...answers]
  if (open.length === 0) stdin.end()
  let text = ''
  stdout.on('data', (chunk: string) => {
    text += chunk
    const [next] = open
    if (next === undefined || !text.includes(next.prompt)) return
    text = ''
    open.shift()
    stdin.write(`${next.reply}\n`)
  })
}

/** Ends the child and what it started: it leads a process group of its own. */
function endGroup(pid: number | undefined): void {
  if (pid !== undefined) process.kill(-pid, 'SIGKILL')
}

/** The standard output of a client that has to succeed. */
export async function runOk(command: Command, args: readonly string[], options: RunOptions): Promise<string> {
  const result = await run(command, args, options)
  if (result.exitCode === 0) return result.stdout
  throw new Error(`${command.file} ${args.join(' ')} ended with ${result.exitCode}\n${result.stdout}\n${result.stderr}`)
}
