/** Keeps `essentials.bin` as the database is: rewritten after every change of what it holds, in the background. */

import { bytes, encodeCbor, record } from '../catalog/cbor.ts'
import { feedIdBytes } from '../catalog/charter.ts'
import { type Revocations, revocationsShape } from '../catalog/grant.ts'
import { type Deps, depsShape } from '../catalog/manifest.ts'
import { MAX_SIGNED_BYTES } from '../catalog/signed.ts'
import { readCharters } from '../ledger/feed-state.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { replaceFile } from '../store/durable-file.ts'
import { keys } from '../store/keys.ts'
import type { KeyRange, Records, Write } from '../store/records.ts'
import { type Essential, encodeEssentials } from './essentials-file.ts'

export interface OwnState {
  readonly manifest: Uint8Array
  readonly deps: Deps
  readonly revocations: Revocations
}

export const ownStateShape = record<OwnState>({
  manifest: [1, bytes({ max: MAX_SIGNED_BYTES })],
  deps: [2, depsShape],
  revocations: [3, revocationsShape],
})

export interface EssentialsOptions {
  readonly path: string
  readonly records: Records
  readonly ledger: Ledger
  /** For the log of the node. */
  warn(details: object, message: string): void
  /** Calls back once after so many ms; the result cancels. */
  setTimer(run: () => void, ms: number): () => void
}

/** Links change with every run: the file follows at most this often. What else it holds changes seldom and is written at once. */
const LINKS_AFTER_MS = 2000
const TABLES: readonly (() => KeyRange)[] = [
  keys.localFeeds,
  keys.indexModes,
  keys.replications,
  keys.links,
  keys.tokens,
  keys.apiKeys,
]
const TABLE_LETTERS = new Set(TABLES.map((range) => range().gte[0]))
const LINK_LETTER = keys.links().gte[0]

export class Essentials implements AsyncDisposable {
  readonly #options: EssentialsOptions
  readonly #unsubscribe: () => void
  /** Newest version in the file, by feed. */
  readonly #charters = new Map<string, number>()
  #isDirty = true
  #writing: Promise<void> | undefined
  #cancel: (() => void) | undefined

  private constructor(options: EssentialsOptions) {
    this.#options = options
    this.#unsubscribe = options.ledger.onChange((feedId) => this.#onChange(feedId))
  }

  /** The file is as the database is when the promise resolves, unless the disk refuses it. */
  static async open(options: EssentialsOptions): Promise<Essentials> {
    const essentials = new Essentials(options)
    await essentials.#flushOrWarn()
    return essentials
  }

  /** To be called after every write. */
  note(writes: readonly Write[]): void {
    const letters = new Set(writes.map(({ key }) => key[0]))
    if (![...letters].some((letter) => TABLE_LETTERS.has(letter))) return
    const isLinksOnly = [...letters].every((letter) => letter === LINK_LETTER || !TABLE_LETTERS.has(letter))
    this.#schedule(isLinksOnly ? LINKS_AFTER_MS : 0)
  }

  /** Charters and the states of empty feeds made here. */
  #onChange(feedId: string): void {
    const { registry } = this.#options.ledger
    if (registry.localById(feedId) !== undefined && registry.states.get(feedId)?.root.count === 0) this.#schedule(0)
    else if (registry.localById(feedId) !== undefined && this.#hasNewCharter(feedId)) this.#schedule(0)
  }

  #hasNewCharter(feedId: string): boolean {
    const version = this.#options.ledger.registry.charterOf(feedId)?.version ?? 0
    return this.#charters.get(feedId) !== version
  }

  #schedule(afterMs: number): void {
    this.#isDirty = true
    if (afterMs > 0 && (this.#cancel !== undefined || this.#writing !== undefined)) return
    this.#cancel?.()
    this.#cancel = this.#options.setTimer(() => {
      this.#cancel = undefined
      void this.#flushOrWarn()
    }, afterMs)
  }

  async #flushOrWarn(): Promise<void> {
    try {
      await this.flush()
    } catch (error) {
      // The database has all of it; the next change tries again.
      this.#options.warn({ err: error, path: this.#options.path }, 'the essentials file cannot be written')
    }
  }

  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
    if (!this.#isDirty) return
    this.#isDirty = false
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined
    })
    try {
      await this.#writing
    } catch (error) {
      this.#isDirty = true
      throw error
    }
  }

  async #write(): Promise<void> {
    await replaceFile(this.#options.path, encodeEssentials(await this.#gather()))
  }

  async #gather(): Promise<Essential[]> {
    const { records, ledger } = this.#options
    const all: Essential[] = []
    for (const range of TABLES)
      for await (const [key, value] of records.scan(range())) all.push({ kind: 'record', key, value })
    for (const { id } of ledger.registry.locals.values()) {
      const state = ledger.registry.states.get(id)
      if (state === undefined) continue
      const key = feedIdBytes(id)
      for (const value of await readCharters(records, state.number)) all.push({ kind: 'charter', key, value })
      this.#charters.set(id, state.charter.value.version)
      if (state.manifest === undefined || state.root.count > 0) continue
      const { deps, revocations, manifest } = state
      all.push({
        kind: 'state',
        key,
        value: encodeCbor(ownStateShape, { manifest: manifest.bytes, deps, revocations }),
      })
    }
    return all
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe()
    this.#cancel?.()
    await this.#flushOrWarn()
  }
}
