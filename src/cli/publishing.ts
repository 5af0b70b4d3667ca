/** Sends files to a feed one after the other and tells how each fared. */

import { createReadStream } from 'node:fs'
import { asFeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ApiClient } from './api-client.ts'
import type { ExitCode } from './context.ts'
import { type Output, visible } from './output.ts'
import { type Amount, Progress } from './progress.ts'

export interface LocalFile {
  /** Where it is read. */
  readonly path: string
  /** What the feed is told: its base name, or for an import the path below the folder. */
  readonly name: string
  readonly size: number
}

export interface Published {
  readonly file: string
  readonly unit: string
  readonly key: string
  readonly item: string
}

export interface FileFailure {
  readonly file: string
  readonly code: string
  readonly message: string
}

export interface Outcome {
  readonly published: readonly Published[]
  readonly failed: readonly FileFailure[]
}

/** Errors that concern no one file: the others would fail alike. */
const FATAL = [
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'NOT_FOUND',
  'NODE_NOT_RUNNING',
  'NOT_A_NODE',
  'ABORTED',
  'STORAGE_FULL',
] as const

interface Work {
  readonly api: ApiClient
  readonly progress: Progress
  readonly planned: Amount
  /** Grows. */
  readonly done: { items: number; bytes: number }
}

/** @throws the errors at which it makes no sense to go on, NOT_FOUND (the feed) among them */
export async function publishFiles(
  { api, output }: { readonly api: ApiClient; readonly output: Output },
  feed: string,
  files: readonly LocalFile[],
): Promise<Outcome> {
  const planned = { items: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) }
  const published: Published[] = []
  const failed: FileFailure[] = []
  using progress = new Progress(output, `Publishing to ${feed}`)
  const work: Work = { api, progress, planned, done: { items: 0, bytes: 0 } }
  for (const file of files) {
    try {
      published.push(await publishOne(work, feed, file))
    } catch (error) {
      if (isFeedmeshError(error, ...FATAL)) throw error
      const { code, message } = describe(error, file)
      failed.push({ file: file.path, code, message })
    }
    work.done.items += 1
    progress.update(work.done, planned)
  }
  return { published, failed }
}

/** What the file system says about a file is no defect of ours. */
function describe(error: unknown, { path }: LocalFile): { readonly code: string; readonly message: string } {
  const { code, syscall, message } = error as NodeJS.ErrnoException
  return syscall === undefined ? asFeedmeshError(error) : { code: code ?? 'EIO', message: `${path}: ${message}` }
}

async function publishOne(work: Work, feed: string, file: LocalFile): Promise<Published> {
  const path = `/feeds/${encodeURIComponent(feed)}/publish?name=${encodeURIComponent(file.name)}`
  const answer = await work.api.upload<Omit<Published, 'file'>>(path, { size: file.size, open: () => read(work, file) })
  return { file: file.path, ...answer }
}

/** A file that grows while it is read is cut at the size that was announced. */
async function* read({ progress, planned, done }: Work, { path, size }: LocalFile): AsyncIterable<Uint8Array> {
  if (size === 0) return
  for await (const chunk of createReadStream(path, { end: size - 1, highWaterMark: 256 * 1024 })) {
    yield chunk as Buffer
    done.bytes += (chunk as Buffer).length
    progress.update(done, planned)
  }
}

/** 0 all there, 4 some, 1 none. */
export function exitCodeOf({ published, failed }: Outcome): ExitCode {
  if (failed.length === 0) return 0
  return published.length === 0 ? 1 : 4
}

export function renderFailures(failed: readonly FileFailure[]): string[] {
  return failed.map(({ file, code, message }) => `failed: ${visible(file)}: ${visible(message)} (${code})`)
}
