/** What drafts in files share: writing at a position, telling the disk early to begin, and the way to the final place. */

import { type FileHandle, rename } from 'node:fs/promises'
import path from 'node:path'
import type { Digest } from '../catalog/digest.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { syncFolder } from './folders.ts'

/** The disk begins to sync whenever so much is new. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024

export interface FileDraftPlace {
  readonly file: string
  /** Where the content of `digest` belongs; the folder is there once this resolves. */
  readonly finalPath: (digest: Digest) => Promise<string>
  readonly reach: ReachFaultPoint
}

export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** Renames a synced and closed draft; on stable storage when it resolves. */
export async function putInPlace({ file, finalPath, reach }: FileDraftPlace, digest: Digest): Promise<void> {
  const target = await finalPath(digest)
  await rename(file, target)
  await syncFolder(path.dirname(target))
  reach('blob.renamed')
}

export class EarlySync {
  readonly #handle: FileHandle
  #syncing: Promise<void> | undefined
  /** What an early sync fails with is told once only, so it is kept for the last one. */
  #failure: unknown
  #unsynced = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  note(written: number): void {
    this.#unsynced += written
    if (this.#unsynced < SYNC_EVERY_BYTES || this.#syncing !== undefined) return
    this.#unsynced = 0
    this.#syncing = this.#handle
      .datasync()
      .catch((error: unknown) => {
        this.#failure ??= error
      })
      .finally(() => {
        this.#syncing = undefined
      })
  }

  /** Until no sync is under way. */
  async settle(): Promise<void> {
    await this.#syncing
  }

  /** Everything written is on stable storage when it resolves. */
  async finish(): Promise<void> {
    await this.#syncing
    if (this.#failure !== undefined) throw this.#failure
    await this.#handle.datasync()
  }
}
