/** Small files that are written as a whole: after a crash or a power cut there is the old content or the new one. */

import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from './folders.ts'
import { asStorageError } from './storage-errors.ts'

/**
 * Mode 0600; on stable storage when the promise resolves. What a crash leaves of it is `<path>.new`.
 * @throws STORAGE_FULL, STORAGE_IO
 */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${path}.new`
  try {
    {
      await using file = await open(temporary, 'w', 0o600)
      await file.writeFile(content)
      await file.sync()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw asStorageError(error, `cannot write ${path}`)
  }
}
