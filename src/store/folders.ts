/** Folders whose entries survive a power cut. */

import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'

/** Brings the entries of a folder (created, renamed, removed files) to stable storage. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.sync()
}

/** Creates the folder and the missing ones above it, readable by the owner only. */
export async function makeFolder(folder: string): Promise<void> {
  const wanted = path.resolve(folder)
  const first = await mkdir(wanted, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = wanted; made.length >= first.length; made = path.dirname(made)) await syncFolder(path.dirname(made))
}
