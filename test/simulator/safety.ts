/**
 * What must hold whatever happens. Checked when the memory of a node follows a durable change, and for whole disks now and
 * then:
 * - every state that is shown was signed by its owner, and rows lead to it
 * - no two states of one feed have one number
 * - no node goes back
 * - a node with a clock that it must know to be wrong signs no manifest
 * - under availability `full`, every file of a visible row is here
 * - what its owner acknowledged is there, and what was deleted stays deleted
 */

import assert from 'node:assert/strict'
import { compareOrder } from '../../src/catalog/manifest.ts'
import { decodeRow, META_ROLE } from '../../src/catalog/row.ts'
import { noFaults } from '../../src/fault-points.ts'
import type { FeedState } from '../../src/ledger/feed-state.ts'
import { compareFloor, floorOf } from '../../src/ledger/floor.ts'
import { Registry } from '../../src/ledger/registry.ts'
import { keys } from '../../src/store/keys.ts'
import { MediumBlobs } from '../../src/store/medium-blobs.ts'
import { RecentlySealed } from '../../src/store/recently-sealed.ts'
import { auditStores } from '../support/audit-data.ts'
import { Disk, SimulatedMedium, SimulatedRecords } from './disk.ts'
import type { DiskImage } from './disk-image.ts'
import type { Promises } from './promises.ts'
import type { Process, SimNode } from './sim-node.ts'

const MANIFEST_DOMAIN = Buffer.from('feedmesh/manifest/1\0', 'latin1')
/** A clock this far ahead of all peers may not sign; a little more than the software's own limit. */
const MAX_SKEW_MS = 6 * 60_000

/** The disk as a restart would find it, without delay. */
export function openImage(image: DiskImage): { readonly records: SimulatedRecords; readonly blobs: MediumBlobs } {
  const disk = new Disk({
    image,
    random: { below: () => 0 } as never,
    setTimer: (run) => {
      queueMicrotask(run)
      return () => {}
    },
    reach: noFaults,
    writeMs: 1,
    slowReads: 0,
  })
  const records = new SimulatedRecords(disk)
  const sealed = new RecentlySealed(0, () => 0)
  return { records, blobs: new MediumBlobs({ records, medium: new SimulatedMedium(disk), reach: noFaults, sealed }) }
}

interface Shown {
  readonly content: string
  readonly isOut: boolean
}

export class Safety {
  /** Signatures over manifests, by key and all in hex. */
  readonly #signatures = new Set<string>()
  /** Feed, epoch and seq → what was shown under them, and whether other nodes than the owner have. */
  readonly #shown = new Map<string, Shown>()
  /** Node and feed → highest state it ever showed. */
  readonly #highest = new Map<string, FeedState>()
  readonly #floors = new Map<string, DiskImage['floor']>()
  readonly #owners = new Map<string, SimNode>()
  /** Feeds whose owner's floor was replaced by an older one. */
  readonly #loose = new Set<string>()
  /** Rows whose files were found, by the stored bytes themselves. */
  readonly #whole = new WeakMap<Uint8Array, Set<string>>()
  readonly #wallMs: () => number
  checks = 0

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs
  }

  /** @throws when a node that knows better signs a manifest */
  onSigned(node: SimNode, message: Uint8Array, signature: Uint8Array): void {
    if (!Buffer.from(message.subarray(0, MANIFEST_DOMAIN.length)).equals(MANIFEST_DOMAIN)) return
    this.#signatures.add(Buffer.from(signature).toString('latin1'))
    const { process } = node
    if (process?.node === undefined) return
    this.checks += 1
    const fault = this.#clockFault(node, process)
    assert.equal(fault, undefined, `${node.name} signs though ${fault}`)
  }

  /** What the node itself has been able to find out about its clock. */
  #clockFault(node: SimNode, { node: { parts } }: Process): string | undefined {
    const now = node.now()
    if (now < Date.parse('2026-12-01T00:00:00Z')) return 'its clock is before its software was made'
    const heard = [...new Set(parts.book.links.all().map((link) => link.peer))].flatMap((peer) => {
      const presence = parts.presence.find(peer)
      return presence === undefined ? [] : [presence]
    })
    const offset = now - this.#wallMs()
    // Every peer that it has heard of, lately, and it has heard of one.
    const isKnown =
      heard.length > 0 &&
      heard.every(({ heardAt, skewMs }) => heardAt <= now && now - heardAt < 3_000_000 && skewMs < -MAX_SKEW_MS)
    return isKnown && offset > MAX_SKEW_MS ? `its clock is ${offset} ms ahead and peers have told it` : undefined
  }

  /** A disk was replaced by an older one: the node may be where that one is. */
  forget(node: SimNode): void {
    for (const name of this.#highest.keys()) if (name.startsWith(`${node.name} `)) this.#highest.delete(name)
    // What nobody else has seen never was.
    for (const [number, { isOut }] of this.#shown)
      if (!isOut && number.startsWith(node.feedId)) this.#shown.delete(number)
  }

  /** The floor file was replaced by an older one. */
  forgetFloor(node: SimNode): void {
    this.#loose.add(node.feedId)
    this.#floors.delete(node.name)
  }

  /** The node has made its feed. */
  own(node: SimNode): void {
    this.#owners.set(node.feedId, node)
  }

  /** @throws for a state that must not be shown */
  verifyState(node: SimNode, state: FeedState): void {
    this.checks += 1
    if (state.manifest === undefined) return
    const { value, bytes } = state.manifest
    const where = `${node.name}, feed ${state.feedId.slice(0, 8)} (${value.epoch}, ${value.seq}, ${value.refresh})`
    assert.ok(
      Buffer.compare(value.stateRoot, state.root.hash) === 0,
      `${where}: shows another state than the signed one`,
    )
    assert.ok(this.#isSigned(bytes), `${where}: its owner never signed this manifest`)
    const number = `${state.feedId} ${value.epoch} ${value.seq}`
    const content = `${state.root.hash.toString('hex')} ${Buffer.from(value.charter).toString('hex')} ${value.logSize}`
    if (state.feedId !== node.feedId) this.#verifyLeft(state, where)
    const shown = this.#shown.get(number) ?? { content, isOut: false }
    assert.equal(content, shown.content, `${where}: two states under one number`)
    // What only a copy of a node has seen goes with the copy.
    const isOut = shown.isOut || (state.feedId !== node.feedId && !node.isTwin)
    this.#shown.set(number, { content, isOut })
    const name = `${node.name} ${state.feedId}`
    const before = this.#highest.get(name)?.manifest
    assert.ok(before === undefined || compareOrder(value, before.value) >= 0, `${where}: went back`)
    this.#highest.set(name, state)
  }

  /** No manifest leaves its owner before the owner's floor names it. */
  #verifyLeft({ feedId, charter, manifest }: FeedState, where: string): void {
    const floor = this.#owners.get(feedId)?.image.floor.get(feedId)
    if (floor === undefined || manifest === undefined || this.#loose.has(feedId)) return
    assert.ok(
      compareFloor(floor, floorOf(charter.value, manifest.value)) >= 0,
      `${where}: has left its owner before the owner's floor file named it`,
    )
  }

  /** The signature is the last field of the envelope. */
  #isSigned(envelope: Uint8Array): boolean {
    return this.#signatures.has(Buffer.from(envelope.subarray(-64)).toString('latin1'))
  }

  /** @throws when the floor on the disk was lowered, or a manifest has left that it does not name */
  verifyFloor(node: SimNode): void {
    const before = this.#floors.get(node.name)
    const { floor } = node.image
    if (before === floor) return
    for (const [feedId, order] of before ?? []) {
      const now = floor.get(feedId)
      assert.ok(now !== undefined && compareFloor(now, order) >= 0, `${node.name}: the floor of ${feedId} went down`)
    }
    this.#floors.set(node.name, floor)
  }

  /** @throws when a row that is visible names a file that is not here */
  verifyFiles(node: SimNode, state: FeedState, image: DiskImage = node.image): void {
    if (node.plan.availability !== 'full' || node.isDamaged) return
    if (node.wasRestored && state.feedId === node.feedId) return
    for (const [, stored] of image.records.range(keys.rows(state.number, state.generation))) {
      const known = this.#whole.get(stored) ?? new Set()
      if (known.has(node.name)) continue
      const row = decodeRow(stored)
      for (const file of row.files)
        assert.ok(
          image.records.find(keys.blob(file.digest)) !== undefined,
          `${node.name} shows ${row.unit} ${row.key} without its ${file.role === META_ROLE ? 'metadata' : 'file'}`,
        )
      this.#whole.set(stored, known.add(node.name))
    }
  }

  /** Files may have been removed: look at all of them again. */
  forgetFiles(node: SimNode): void {
    for (const [, stored] of node.image.records.range({ gte: Buffer.from('r'), lt: Buffer.from('s') }))
      this.#whole.get(stored)?.delete(node.name)
  }

  /** Everything on a disk: rows lead to signed roots, views to digests, files are whole, acknowledged changes are there. */
  async auditDisk(node: SimNode, promises: Promises): Promise<void> {
    this.checks += 1
    const image = node.image.copy()
    const { records, blobs } = openImage(image)
    const registry = await Registry.open(records)
    const anything = new Proxy(blobs, {
      get: (target, name) => (name === 'verifyBlob' ? async () => 'ok' : (Reflect.get(target, name) as unknown)),
    })
    const isWhole = node.plan.availability === 'full' && !node.wasRestored && !node.isDamaged
    await auditStores(registry, isWhole ? blobs : anything)
    for (const state of registry.states.values()) this.verifyFiles(node, state, image)
    if (node.feedId !== '' && registry.states.has(node.feedId)) await promises.verify(node, registry)
  }
}
