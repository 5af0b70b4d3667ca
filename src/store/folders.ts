/** Folders whose entries survive a power cut. */

import { mkdir, open, readdir } from 'node:fs/promises'
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

/** Brings a folder with all files and folders in it to stable storage. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const inside = path.join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(inside)
    else if (entry.isFile()) await syncFile(inside)
  }
  await syncFolder(folder)
}

async function syncFile(file: string): Promise<void> {
  await using handle = await open(file, 'r')
  await handle.sync()
}
