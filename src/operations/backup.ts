/**
 * A copy of a running node's data folder: records as of one moment, the blobs they name (hard links where the disk allows
 * it: blobs never change), keys, configuration, floor.
 *
 * The copy is complete once it has its `config.json`, which is written when all else is on stable storage; until then no command takes it for a data
 * folder. A node that runs on a copy does not sign before it has caught up with its own past (`MAY_NOT_SIGN`): the copy says
 * of itself that it is one.
 */

import { copyFile, link, mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FeedmeshError } from '../errors.ts'
import type { Actor, BackupReport } from '../http/operations.ts'
import { RESTORED_FACT } from '../replication/catch-up.ts'
import { replaceFile } from '../store/durable-file.ts'
import { syncFolder, syncTree } from '../store/folders.ts'
import { keys } from '../store/keys.ts'
import { pathExists } from '../store/path-exists.ts'
import type { Records, Write } from '../store/records.ts'
import type { AuditLog } from './audit.ts'

export interface BackupOptions {
  readonly directory: string
  readonly records: Records
  readonly audit: AuditLog
  /** Opens the records of the copy. */
  openRecords(directory: string): Promise<Records>
  /** Runs `work` while nothing is published or adopted, so that records and files belong together. */
  exclusively<T>(work: () => Promise<T>): Promise<T>
}

/** Records written at once into the copy, bytes. */
const BATCH_BYTES = 4 * 1024 ** 2
/** Folders of small files; a node may have none of a kind. */
const KEPT_FOLDERS = ['recovery', 'index-keys']
const KEPT_FILES = ['identity.key', 'admin.key', 'floor.json', 'schema']
const EVERY_KEY = { gte: Uint8Array.of(0), lt: Uint8Array.of(0xff) }

async function copyIfThere(from: string, to: string): Promise<void> {
  if (await pathExists(from)) await copyFile(from, to)
}

async function copyFolder(from: string, to: string): Promise<void> {
  if (!(await pathExists(from))) return
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const file of await readdir(from)) await copyFile(join(from, file), join(to, file))
}

/** Same disk: another name for the same bytes; else a copy. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    await copyFile(from, to)
  }
}

/** What the record store notes for itself; the copy's store has notes of its own. */
function isStoreFact(key: Uint8Array): boolean {
  return ['batch', 'schema'].some((name) => Buffer.compare(key, keys.fact(name)) === 0)
}

async function copyRecords(from: Records, to: Records): Promise<number> {
  let batch: Write[] = []
  let size = 0
  let count = 0
  for await (const [key, value] of from.scan(EVERY_KEY)) {
    if (isStoreFact(key)) continue
    batch.push({ type: 'put', key, value })
    size += key.length + value.length
    count += 1
    if (size < BATCH_BYTES) continue
    await to.write(batch)
    batch = []
    size = 0
  }
  batch.push({ type: 'put', key: keys.fact(RESTORED_FACT), value: Uint8Array.of(1) })
  await to.write(batch)
  return count
}

async function copyBlobs(from: string, to: string): Promise<{ blobs: number; bytes: number }> {
  const copied = { blobs: 0, bytes: 0 }
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.parentPath.includes('staging')) continue
    const source = join(entry.parentPath, entry.name)
    const target = join(to, source.slice(from.length))
    await mkdir(join(target, '..'), { recursive: true, mode: 0o700 })
    await linkOrCopy(source, target)
    copied.blobs += 1
    copied.bytes += (await stat(source)).size
  }
  return copied
}

/** @throws EXISTS when something is at `target` */
export async function createBackup(target: string, options: BackupOptions, actor: Actor): Promise<BackupReport> {
  const { directory, records, audit } = options
  if (await pathExists(target))
    throw new FeedmeshError('EXISTS', `${target} is there already; name a folder that does not exist`)
  await mkdir(join(target, 'recovery'), { recursive: true, mode: 0o700 })
  const report = await options.exclusively(async () => {
    await using copy = await options.openRecords(join(target, 'records'))
    const count = await copyRecords(records, copy)
    const blobs = await copyBlobs(join(directory, 'blobs'), join(target, 'blobs'))
    return { directory: target, records: count, ...blobs }
  })
  for (const file of KEPT_FILES) await copyIfThere(join(directory, file), join(target, file))
  for (const folder of KEPT_FOLDERS) await copyFolder(join(directory, folder), join(target, folder))
  await syncTree(target)
  await replaceFile(join(target, 'config.json'), await readFile(join(directory, 'config.json')))
  await syncFolder(dirname(target))
  await audit.note(actor, 'backup', target)
  return report
}
