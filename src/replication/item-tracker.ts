/** Counts blobs up to the items operators know: a version is fetched when all its files are. */

import type { FeedmeshError } from '../errors.ts'
import type { WantedBlob } from './blob-fetcher.ts'
import type { ActiveRun } from './runs.ts'

interface Item {
  readonly name: string
  /** Whether it counts: only failures of other rows are worth a line. */
  readonly counts: boolean
  /** Digests not here yet. */
  readonly missing: Set<string>
  bytes: number
  failed: boolean
}

export class ItemTracker {
  readonly #run: ActiveRun
  readonly #items: Item[] = []
  readonly #byDigest = new Map<string, Item[]>()
  readonly #wanted = new Map<string, WantedBlob>()

  constructor(run: ActiveRun) {
    this.#run = run
  }

  /** `name` is undefined for rows that are not items of their own: they show up only when they fail. */
  add(name: string | undefined, files: readonly WantedBlob[], label: string): void {
    const item: Item = {
      name: name ?? label,
      counts: name !== undefined,
      missing: new Set(files.map((file) => file.digest)),
      bytes: 0,
      failed: false,
    }
    if (name !== undefined) this.#items.push(item)
    for (const file of files) {
      this.#wanted.set(file.digest, file)
      this.#byDigest.set(file.digest, [...(this.#byDigest.get(file.digest) ?? []), item])
    }
  }

  get wanted(): WantedBlob[] {
    return [...this.#wanted.values()]
  }

  /** Takes note of the blobs that are here already, and says what the run sets out to do. */
  begin(missing: readonly WantedBlob[]): void {
    this.#run.plan(
      this.#items.length,
      missing.reduce((sum, blob) => sum + blob.size, 0),
    )
    const absent = new Set(missing.map((blob) => blob.digest))
    for (const item of this.#items) if (item.missing.size === 0) this.#run.fetched(item.name, 0)
    for (const digest of this.#byDigest.keys())
      if (!absent.has(digest as WantedBlob['digest'])) this.#arrived(digest, 0)
  }

  settle(blob: WantedBlob, error: FeedmeshError | undefined): void {
    if (error === undefined) this.#arrived(blob.digest, blob.size)
    else for (const item of this.#byDigest.get(blob.digest) ?? []) this.#fail(item, error)
  }

  #arrived(digest: string, bytes: number): void {
    for (const item of this.#byDigest.get(digest) ?? []) {
      item.missing.delete(digest)
      item.bytes += bytes
      if (item.missing.size === 0 && !item.failed && item.counts) this.#run.fetched(item.name, item.bytes)
    }
  }

  #fail(item: Item, error: FeedmeshError): void {
    if (item.failed) return
    item.failed = true
    this.#run.failed(item.name, error)
  }
}
