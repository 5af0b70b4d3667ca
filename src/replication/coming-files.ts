/**
 * Files of rows that are verified and not adopted yet. Peers that fetch the same at the same time may have them already from
 * this node: no row of what is adopted names them.
 */

import type { FeedId } from '../catalog/charter.ts'
import type { WantedBlob } from './blob-fetcher.ts'

/** Of all runs together; the oldest are forgotten. A run of a million rows gets them in an order that all peers share. */
const MAX_FILES = 16_384

export interface NamedFile {
  readonly feedId: FeedId
  readonly unit: string
  readonly key: string
  /** Of the file or of its chunk list. */
  readonly digest: string
}

function nameOf({ feedId, unit, key, digest }: NamedFile): string {
  return JSON.stringify([feedId, unit, key, digest])
}

export class ComingFiles {
  readonly #files = new Map<string, WantedBlob>()

  /** What is added stays until the run is disposed of. */
  begin(): ComingRun {
    return new ComingRun(this.#files)
  }

  find(named: NamedFile): WantedBlob | undefined {
    return this.#files.get(nameOf(named))
  }
}

export class ComingRun implements Disposable {
  readonly #files: Map<string, WantedBlob>
  readonly #own = new Map<string, WantedBlob>()

  constructor(files: Map<string, WantedBlob>) {
    this.#files = files
  }

  add(wanted: readonly WantedBlob[]): void {
    for (const file of wanted) {
      this.#keep(nameOf(file), file)
      if (file.chunkRoot !== undefined) this.#keep(nameOf({ ...file, digest: file.chunkRoot }), file)
    }
  }

  #keep(name: string, file: WantedBlob): void {
    this.#files.set(name, file)
    this.#own.set(name, file)
    if (this.#own.size > MAX_FILES) this.#drop(this.#own.keys().next().value!)
  }

  /** Another run may have it, too. */
  #drop(name: string): void {
    if (this.#files.get(name) === this.#own.get(name)) this.#files.delete(name)
    this.#own.delete(name)
  }

  [Symbol.dispose](): void {
    for (const name of this.#own.keys()) this.#drop(name)
  }
}
