/** Data that is lost, replaced or damaged, and what the operator does about it. */

import { type Digest, sha256Digest } from '../../src/catalog/digest.ts'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { RESTORED_FACT } from '../../src/replication/catch-up.ts'
import { keys } from '../../src/store/keys.ts'
import type { Random } from '../support/random.ts'
import type { DiskImage } from './disk-image.ts'
import { flipBit } from './liars.ts'
import type { Mending } from './mending.ts'
import type { NodeFaults } from './node-faults.ts'
import { FEED, type SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MINUTE_MS = 60_000
const RETRY_MS = 10_000

export class DiskFaults {
  readonly #world: World
  readonly #mending: Mending
  readonly #nodeFaults: NodeFaults
  readonly #random: Random
  readonly #backups = new Map<SimNode, DiskImage>()

  constructor(world: World, mending: Mending, nodeFaults: NodeFaults) {
    this.#world = world
    this.#mending = mending
    this.#nodeFaults = nodeFaults
    this.#random = world.random.fork()
  }

  /** The first time a backup is made; the next time it is put back. */
  async restore(node: SimNode): Promise<void> {
    const backup = this.#backups.get(node)
    if (backup === undefined) return await this.#backUp(node)
    this.#world.count('backup restored')
    // Who restores what its neighbours are to tell a restored node makes their backups useless.
    for (const other of this.#world.nodes)
      if (this.#world.parentOf(other) === node || this.#world.parentOf(node) === other) this.#backups.delete(other)
    node.crash('power')
    await this.#nodeFaults.startAgain(node, () => {
      node.image = backup.copy()
      node.wasRestored = true
      this.#world.promises.weaken(node)
      this.#world.safety.forget(node)
      this.#world.safety.forgetFloor(node)
    })
  }

  async #backUp(node: SimNode): Promise<void> {
    const { ledger } = node.process!.node
    await ledger.exclusively(async () => {
      if (node.process === undefined) return
      const image = node.image.copy()
      image.records.apply([{ type: 'put', key: keys.fact(RESTORED_FACT), value: Uint8Array.of(1) }])
      image.partials.clear()
      image.sparse.clear()
      this.#backups.set(node, image)
    })
  }

  /** The database is gone, files are left. The operator makes the feed anew and links it again. */
  async loseRecords(node: SimNode): Promise<void> {
    const parent = this.#world.parentOf(node)
    if (parent === undefined || !this.#world.isLeaf(node)) return
    // What its parent would have to be told after a restore goes with it, and whom to ask is in no backup from before.
    if (this.#mending.isHeld(parent)) return
    this.#forgetBackups(node, parent)
    this.#world.count('records lost')
    node.crash('power')
    await this.#nodeFaults.startAgain(node, () => {
      node.image.records.clear({ gte: Buffer.alloc(0), lt: Buffer.alloc(64, 0xff) })
      this.#world.promises.forget(node)
      this.#world.safety.forget(node)
    })
    await this.#setUpAgain(node, parent)
    this.#forgetBackups(node, parent)
  }

  #forgetBackups(...nodes: readonly SimNode[]): void {
    for (const node of nodes) this.#backups.delete(node)
  }

  async #setUpAgain(node: SimNode, parent: SimNode): Promise<void> {
    const process = node.process!
    await process.node.createFeed(FEED)
    node.openFeed(process)
    this.#world.safety.own(node)
    const { everyMs, availability } = node.plan
    for (;;) {
      try {
        const there = parent.process?.node
        if (there === undefined) throw new FeedmeshError('PEER_UNREACHABLE', 'the parent does not run')
        // Whoever dies meanwhile gives no answer.
        const { token } = await this.#withinMinutes(there.accept({ feed: FEED, mode: 'push', everyMs }))
        await process.node.link(there, token, { feed: FEED, mode: 'pull', availability, everyMs })
        return
      } catch (error) {
        if (!isFeedmeshError(error)) throw error
        await this.#mending.wait(RETRY_MS)
      }
    }
  }

  async #withinMinutes<T>(work: Promise<T>): Promise<T> {
    const limit = this.#mending.wait(2 * MINUTE_MS).then(() => {
      throw new FeedmeshError('TIMEOUT', 'the parent gives no answer')
    })
    limit.catch(() => {}) // Lost the race.
    return await Promise.race([work, limit])
  }

  /** A bit of a large file flips; the operator finds out and has it mended. */
  async rot(node: SimNode): Promise<void> {
    const { process, image } = node
    const { files = new Map<Digest, Buffer>() } = this.#world.parentOf(node)?.image ?? {}
    const digest = [...image.files.keys()].findLast((each) => files.has(each))
    if (process === undefined || digest === undefined || node.plan.availability !== 'full') return
    image.files.set(digest, Buffer.from(flipBit(image.files.get(digest)!, this.#random)))
    node.isDamaged = true
    this.#world.count('blob rotten')
    for (;;) {
      await this.#mending.wait(this.#random.logUniform(MINUTE_MS, 5 * MINUTE_MS))
      if (!process.isAlive) return
      const { signal } = process.stopping
      const report = await process.maintenance.verify({ repair: true, signal }, { name: 'operator', from: 'simulator' })
      // No row may name it yet, and a repair whose fetch failed leaves it away: then the first reader has it fetched.
      node.isDamaged = digest !== sha256Digest(image.files.get(digest) ?? Buffer.alloc(0))
      if (report.damaged.every(({ repaired }) => repaired)) return
    }
  }
}
