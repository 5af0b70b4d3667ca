/** What clients of the nodes do: publish, tag, burn, delete, read. */

import assert from 'node:assert/strict'
import { isFeedmeshError } from '../../src/errors.ts'
import type { UnitChange } from '../../src/feeds/feed.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { Random } from '../support/random.ts'
import type { SimulationOptions } from './options.ts'
import { type Content, contentOf, type Promises } from './promises.ts'
import type { Process, SimNode } from './sim-node.ts'

interface Change {
  readonly unit: string
  readonly key: string
  readonly content: Content
  readonly perform: (feed: LedgerFeed) => Promise<void>
}

/** What a client may be told without the promise being broken: nothing has happened then. */
const REFUSALS = [
  'STORAGE_FULL',
  'STORAGE_IO',
  'MAY_NOT_SIGN',
  'IDENTITY_DUPLICATED',
  'ABORTED',
  'FORBIDDEN',
  'BUSY',
] as const

export class Workload {
  readonly #options: SimulationOptions
  readonly #promises: Promises
  readonly #random: Random
  #counter = 0
  /** Units with a change under way: one at a time, so that it is known what was promised. */
  readonly #busy = new Set<string>()
  acknowledged = 0
  refused = 0
  read = 0

  constructor(options: SimulationOptions, promises: Promises, random: Random) {
    this.#options = options
    this.#promises = promises
    this.#random = random
  }

  /** One client of the node does something; resolves when it has its answer, or never when the process dies before. */
  async act(node: SimNode): Promise<void> {
    const { process } = node
    if (process?.feed === undefined) return
    if (this.#random.chance(0.2)) return await this.#read(node, process)
    const change = this.#plan(node)
    const name = `${node.name} ${change?.unit}`
    if (change === undefined || this.#busy.has(name)) return
    this.#busy.add(name)
    this.#promises.begin(node, change)
    try {
      await change.perform(process.feed)
      if (!process.isAlive) return
      this.#promises.keep(node, change)
      this.acknowledged += 1
    } catch (error) {
      if (!process.isAlive) return
      assert.ok(isFeedmeshError(error, ...REFUSALS), `${node.name}: a client was told ${String(error)}`)
      this.refused += 1
      // A failed batch leaves nothing; a node that is stopping may have written it and not said so.
      if (error.code !== 'ABORTED') this.#promises.drop(node, change)
    } finally {
      this.#busy.delete(name)
    }
  }

  /** The process died with changes under way. */
  forget(node: SimNode): void {
    for (const name of this.#busy) if (name.startsWith(`${node.name} `)) this.#busy.delete(name)
  }

  #plan(node: SimNode): Change | undefined {
    const unit = `${node.name}-${this.#random.below(this.#options.units)}`
    const kind = this.#random.below(10)
    if (kind < 5) return this.#publish(unit)
    if (kind < 7) return this.#tag(unit)
    const key = this.#promises.present(node, unit)[0]
    if (key === undefined) return this.#publish(unit)
    return kind < 8 ? this.#burn(unit, key) : this.#remove(unit, key)
  }

  #publish(unit: string): Change {
    this.#counter += 1
    const key = `v/${this.#counter}`
    const size = this.#random.logUniform(1, this.#options.maxContentBytes)
    const bytes = this.#random.bytes(size)
    const perform = async (feed: LedgerFeed) => {
      await using staged = await feed.stage({ maxBytes: size })
      await staged.write(bytes)
      const blob = await staged.seal()
      const draft = { key, rowClass: 'immutable' as const, meta: Buffer.from(key), files: [{ role: 'file', blob }] }
      await feed.change(unit, () => ({ put: [draft] }))
    }
    return { unit, key, content: contentOf(bytes), perform }
  }

  #tag(unit: string): Change {
    this.#counter += 1
    const key = `tag/${this.#random.below(2)}`
    const meta = Buffer.from(`value ${this.#counter}`)
    return this.#change(
      { unit, key, content: contentOf(meta) },
      { put: [{ key, rowClass: 'register', meta, files: [] }] },
    )
  }

  #burn(unit: string, key: string): Change {
    const meta = new Uint8Array(0)
    return this.#change({ unit, key, content: 'burned' }, { put: [{ key, rowClass: 'burn', meta, files: [] }] })
  }

  #remove(unit: string, key: string): Change {
    return this.#change({ unit, key, content: 'absent' }, { drop: [key] })
  }

  #change(what: Omit<Change, 'perform'>, change: UnitChange): Change {
    return { ...what, perform: (feed) => feed.change(what.unit, () => change) }
  }

  /** Whatever is listed can be read, if it is here or can be fetched, and is what it is called. */
  async #read(node: SimNode, process: Process): Promise<void> {
    const { feed } = process
    try {
      for await (const { unit } of feed.list({ limit: 1 + this.#random.below(5) })) {
        const rows = (await feed.findUnit(unit))?.rows ?? []
        const row = rows.find(({ files }) => files.length > 0)
        const [file] = row?.files ?? []
        if (row === undefined || file === undefined) continue
        const pieces: Buffer[] = []
        for await (const piece of await feed.open(row, file)) pieces.push(piece as Buffer)
        // What rots on the disk is found by clients and by verify, not by each read.
        if (node.isDamaged) return
        assert.equal(
          `sha256:${contentOf(Buffer.concat(pieces))}`,
          file.digest,
          `${unit} ${row.key}: other bytes are served`,
        )
        this.read += 1
        return
      }
    } catch (error) {
      if (!process.isAlive) return
      if (!isFeedmeshError(error)) throw error
      if (error.code === 'INTERNAL') throw new Error('a reader was told that something is broken', { cause: error })
    }
  }
}
