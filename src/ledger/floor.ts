/**
 * The floor: the highest manifest order ever signed or accepted, per feed, in a file outside the database.
 *
 * Invariant: no manifest leaves this node before the file names it. So a database that is behind its floor file was
 * restored or lost: the node must not sign for its own feeds then, and refuses older manifests of others.
 */

import { open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { FeedId } from '../catalog/charter.ts'
import { compareOrder, type ManifestOrder } from '../catalog/manifest.ts'
import { FeedmeshError } from '../errors.ts'
import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import { syncFolder } from '../store/folders.ts'

export interface Floor {
  find(feedId: FeedId): ManifestOrder | undefined
  /** Raises the floor in memory; never lowers it. */
  raise(feedId: FeedId, order: ManifestOrder): void
  /** Resolves when everything raised so far is on stable storage. */
  flush(): Promise<void>
}

function parseFloor(json: string, path: string): Map<FeedId, ManifestOrder> {
  const entries = new Map<FeedId, ManifestOrder>()
  try {
    for (const [feedId, order] of Object.entries(JSON.parse(json) as Record<string, unknown>)) {
      if (!Array.isArray(order) || order.length !== 3 || !order.every(Number.isSafeInteger))
        throw new TypeError(`entry ${feedId}`)
      const [epoch, seq, refresh] = order as [number, number, number]
      entries.set(feedId, { epoch, seq, refresh })
    }
  } catch (cause) {
    throw new FeedmeshError(
      'CORRUPT',
      `${path} cannot be read; restore it from a backup of the same day, or remove it and accept that older manifests are not refused`,
      { cause },
    )
  }
  return entries
}

export class MemoryFloor implements Floor {
  protected readonly entries: Map<FeedId, ManifestOrder>

  constructor(entries = new Map<FeedId, ManifestOrder>()) {
    this.entries = entries
  }

  find(feedId: FeedId): ManifestOrder | undefined {
    return this.entries.get(feedId)
  }

  raise(feedId: FeedId, { epoch, seq, refresh }: ManifestOrder): void {
    const known = this.entries.get(feedId)
    if (known === undefined || compareOrder({ epoch, seq, refresh }, known) > 0)
      this.entries.set(feedId, { epoch, seq, refresh })
  }

  async flush(): Promise<void> {}
}

class FloorFile extends MemoryFloor {
  readonly #path: string
  readonly #reach: ReachFaultPoint
  #dirty = false
  #writing: Promise<void> | undefined

  constructor(path: string, entries: Map<FeedId, ManifestOrder>, reach: ReachFaultPoint) {
    super(entries)
    this.#path = path
    this.#reach = reach
  }

  override raise(feedId: FeedId, order: ManifestOrder): void {
    const before = this.entries.get(feedId)
    super.raise(feedId, order)
    if (this.entries.get(feedId) !== before) this.#dirty = true
  }

  /** Calls during a write share the next one. */
  override async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
    if (!this.#dirty) return
    this.#dirty = false
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined
    })
    try {
      await this.#writing
    } catch (error) {
      this.#dirty = true
      throw error
    }
  }

  async #write(): Promise<void> {
    const lines = Object.fromEntries(
      [...this.entries].map(([id, { epoch, seq, refresh }]) => [id, [epoch, seq, refresh]]),
    )
    const temporary = `${this.#path}.new`
    try {
      await writeSynced(temporary, `${JSON.stringify(lines)}\n`)
      await rename(temporary, this.#path)
      await syncFolder(dirname(this.#path))
    } catch (cause) {
      const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC'
      throw new FeedmeshError(full ? 'STORAGE_FULL' : 'STORAGE_IO', `${this.#path} cannot be written`, { cause })
    }
    this.#reach('floor.written')
  }
}

async function writeSynced(path: string, content: string): Promise<void> {
  await using file = await open(path, 'w', 0o600)
  await file.writeFile(content)
  await file.sync()
}

/** @throws CORRUPT */
export async function openFloor(path: string, reach: ReachFaultPoint = noFaults): Promise<Floor> {
  let json = '{}'
  try {
    json = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return new FloorFile(path, parseFloor(json, path), reach)
}
