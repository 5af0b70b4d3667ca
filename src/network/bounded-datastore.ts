/** What libp2p remembers of peers and keeps for the directory: in memory, and bounded whoever fills it. */

import { NotFoundError } from '@libp2p/interface'
import { BaseDatastore } from 'datastore-core/base'

type Key = Parameters<BaseDatastore['put']>[0]
type Query = Parameters<BaseDatastore['query']>[0]
type KeyQuery = Parameters<BaseDatastore['queryKeys']>[0]
interface Pair {
  readonly key: Key
  readonly value: Uint8Array
}

export interface DatastoreLimits {
  /** Of each room, which is the first part of a key; the longest unused goes first. */
  readonly maxEntries: number
  /** With the same last part of the key, which is the PeerId of who announced something. */
  readonly maxOfPeer: number
  readonly maxKeyLength: number
  readonly maxValueBytes: number
}

const LIMITS: DatastoreLimits = { maxEntries: 4096, maxOfPeer: 128, maxKeyLength: 256, maxValueBytes: 16 * 1024 }

export class BoundedDatastore extends BaseDatastore {
  readonly #limits: DatastoreLimits
  readonly #isKept: (name: string) => boolean
  /** By first part of the key; the longest unused first. */
  readonly #rooms = new Map<string, Map<string, Pair>>()

  /** What `isKept` stays, however full it is. */
  constructor(isKept: (name: string) => boolean, limits: Partial<DatastoreLimits> = {}) {
    super()
    this.#isKept = isKept
    this.#limits = { ...LIMITS, ...limits }
  }

  override put(key: Key, value: Uint8Array): Key {
    const name = key.toString()
    const { maxEntries, maxOfPeer, maxKeyLength, maxValueBytes } = this.#limits
    if (name.length > maxKeyLength || value.byteLength > maxValueBytes)
      throw new RangeError(
        `a record of ${value.byteLength} bytes under a key of ${name.length} characters is too large`,
      )
    const room = this.#room(name)
    if (!room.has(name)) {
      const peer = name.slice(name.lastIndexOf('/'))
      const ofPeer = [...room.keys()].filter((other) => other.endsWith(peer))
      if (ofPeer.length >= maxOfPeer) room.delete(ofPeer[0]!)
    }
    room.delete(name)
    room.set(name, { key, value })
    if (room.size > maxEntries) {
      const oldest = room.keys().find((other) => !this.#isKept(other))
      if (oldest !== undefined) room.delete(oldest)
    }
    return key
  }

  override get(key: Key): Uint8Array {
    const name = key.toString()
    const room = this.#room(name)
    const found = room.get(name)
    if (found === undefined) throw new NotFoundError()
    room.delete(name)
    room.set(name, found)
    return found.value
  }

  override has(key: Key): boolean {
    const name = key.toString()
    return this.#room(name).has(name)
  }

  override delete(key: Key): void {
    const name = key.toString()
    this.#room(name).delete(name)
  }

  override *_all({ prefix = '/' }: Query): Generator<Pair> {
    yield* this.#find(prefix)
  }

  override *_allKeys({ prefix = '/' }: KeyQuery): Generator<Key> {
    for (const { key } of this.#find(prefix)) yield key
  }

  /** As it is now: what is used while it is gone through changes its place. */
  #find(prefix: string): Pair[] {
    return [...this.#rooms.values()].flatMap((room) =>
      [...room].flatMap(([name, pair]) => (name.startsWith(prefix) ? [pair] : [])),
    )
  }

  #room(name: string): Map<string, Pair> {
    const [, first = ''] = name.split('/', 2)
    const room = this.#rooms.get(first) ?? new Map<string, Pair>()
    this.#rooms.set(first, room)
    return room
  }
}
