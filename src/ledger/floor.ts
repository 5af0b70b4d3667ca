/**
 * The floor: the highest manifest ever signed or accepted, per feed, with the charter it stands under, in a file outside the
 * database. The file holds the checksum of what it says.
 *
 * Invariant: no manifest leaves this node before the file names it. So a database that is behind its floor file was
 * restored or lost: the node must not sign for its own feeds then, and refuses older manifests of others.
 */

import { readFile } from 'node:fs/promises'
import type { FeedId } from '../catalog/charter.ts'
import { sha256 } from '../catalog/digest.ts'
import { compareOrder, type ManifestOrder } from '../catalog/manifest.ts'
import { FeedmeshError } from '../errors.ts'
import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import { replaceFile } from '../store/durable-file.ts'

/** A manifest with the generation and the version of the charter it is signed under; both have one epoch. */
export interface FloorOrder extends ManifestOrder {
  readonly generation: number
  readonly version: number
}

/** A later generation stands above every manifest of an earlier one. */
export function compareFloor(a: FloorOrder, b: FloorOrder): number {
  return a.generation - b.generation || compareOrder(a, b)
}

export function floorOf(
  { generation, version }: { readonly generation: number; readonly version: number },
  { epoch, seq, refresh }: ManifestOrder,
): FloorOrder {
  return { generation, version, epoch, seq, refresh }
}

export interface Floor {
  find(feedId: FeedId): FloorOrder | undefined
  /** Raises the floor in memory; never lowers it. */
  raise(feedId: FeedId, order: FloorOrder): void
  /** Every feed that has a floor. */
  feeds(): FeedId[]
  /** Resolves when everything raised so far is on stable storage. */
  flush(): Promise<void>
}

const FIELDS = ['generation', 'epoch', 'version', 'seq', 'refresh'] as const

function parseEntry(feedId: string, order: unknown): FloorOrder {
  if (!/^[0-9a-f]{64}$/.test(feedId) || !Array.isArray(order) || order.length !== FIELDS.length)
    throw new TypeError(`entry ${feedId}`)
  if (!order.every((number) => Number.isSafeInteger(number) && number >= 0)) throw new TypeError(`entry ${feedId}`)
  const [generation, epoch, version, seq, refresh] = order as [number, number, number, number, number]
  return { generation, epoch, version, seq, refresh }
}

function checksumOf(feeds: unknown): string {
  return sha256(`feedmesh floor\n${JSON.stringify(feeds)}`).toString('hex')
}

function parseFloor(json: string, path: string): Map<FeedId, FloorOrder> {
  try {
    const { feeds, checksum } = JSON.parse(json) as { feeds: Record<string, unknown>; checksum: unknown }
    if (checksum !== checksumOf(feeds)) throw new TypeError('the checksum is another')
    return new Map(Object.entries(feeds).map(([feedId, order]) => [feedId, parseEntry(feedId, order)]))
  } catch (cause) {
    throw new FeedmeshError(
      'CORRUPT',
      `${path} cannot be read; restore it from a backup of the same day, or remove it and accept that older manifests are not refused`,
      { cause },
    )
  }
}

function renderFloor(entries: ReadonlyMap<FeedId, FloorOrder>): string {
  const feeds = Object.fromEntries([...entries].map(([id, order]) => [id, FIELDS.map((field) => order[field])]))
  return `${JSON.stringify({ feeds, checksum: checksumOf(feeds) })}\n`
}

export class MemoryFloor implements Floor {
  protected readonly entries: Map<FeedId, FloorOrder>

  constructor(entries = new Map<FeedId, FloorOrder>()) {
    this.entries = entries
  }

  find(feedId: FeedId): FloorOrder | undefined {
    return this.entries.get(feedId)
  }

  raise(feedId: FeedId, order: FloorOrder): void {
    const known = this.entries.get(feedId)
    if (known === undefined || compareFloor(order, known) > 0) this.entries.set(feedId, order)
  }

  feeds(): FeedId[] {
    return [...this.entries.keys()]
  }

  async flush(): Promise<void> {}
}

class FloorFile extends MemoryFloor {
  readonly #path: string
  readonly #reach: ReachFaultPoint
  #dirty = false
  #writing: Promise<void> | undefined

  constructor(path: string, entries: Map<FeedId, FloorOrder>, reach: ReachFaultPoint) {
    super(entries)
    this.#path = path
    this.#reach = reach
  }

  override raise(feedId: FeedId, order: FloorOrder): void {
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
    await replaceFile(this.#path, renderFloor(this.entries))
    this.#reach('floor.written')
  }
}

/** @throws CORRUPT */
export async function openFloor(path: string, reach: ReachFaultPoint = noFaults): Promise<Floor> {
  let json: string | undefined
  try {
    json = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return new FloorFile(path, json === undefined ? new Map() : parseFloor(json, path), reach)
}
