/** API keys: `fmk_<id>_<secret>`. Only a hash of the secret is kept; 256 random bits need no slow hash. */

import { timingSafeEqual } from 'node:crypto'
import {
  bytes,
  decodeCbor,
  encodeCbor,
  list,
  nullable,
  record,
  type Shaped,
  text,
  uint,
  word,
} from '../catalog/cbor.ts'
import { sha256 } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { Caller, Permission } from '../feeds/feed-type.ts'
import type { KeySummary } from '../http/operations.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'

const PERMISSIONS = ['read', 'publish', 'delete', 'admin'] as const

const keyShape = record({
  name: [1, text(128)],
  /** Name of the one feed it is for; null = every feed of the node. */
  feed: [2, nullable(text(128))],
  can: [3, list(word(PERMISSIONS), 4)],
  secretHash: [4, bytes({ size: 32 })],
  createdAt: [5, uint()],
})
type KeyRecord = Shaped<typeof keyShape>

const FORM = /^fmk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

/** What holding a permission brings with it. */
const IMPLIED: Readonly<Record<Permission, readonly Permission[]>> = {
  read: ['read'],
  publish: ['publish', 'read'],
  delete: ['delete', 'read'],
  admin: ['admin', 'publish', 'delete', 'read'],
}

/** Texts of keys that were found right, so that not every request of a client is hashed. */
const MAX_KNOWN_TEXTS = 1000

const NO_PERMISSIONS: ReadonlySet<Permission> = new Set()

interface StoredKey extends KeyRecord {
  readonly permissions: ReadonlySet<Permission>
}

function withImplied(key: KeyRecord): StoredKey {
  return { ...key, permissions: new Set(key.can.flatMap((permission) => IMPLIED[permission])) }
}

export interface NewKey {
  readonly feed: string | null
  readonly can: readonly Permission[]
  readonly name?: string
}

export class ApiKeys {
  readonly #records: Records
  readonly #now: () => number
  readonly #randomBytes: (size: number) => Uint8Array
  readonly #keys = new Map<string, StoredKey>()
  /** Ids of keys by their text. */
  readonly #knownTexts = new Map<string, string>()

  private constructor(records: Records, now: () => number, randomBytes: (size: number) => Uint8Array) {
    this.#records = records
    this.#now = now
    this.#randomBytes = randomBytes
  }

  static async open(records: Records, now: () => number, randomBytes: (size: number) => Uint8Array): Promise<ApiKeys> {
    const access = new ApiKeys(records, now, randomBytes)
    for await (const [key, value] of records.scan(keys.apiKeys())) {
      access.#keys.set(
        Buffer.from(key.subarray(1)).toString(),
        withImplied(decodeCbor(keyShape, value, 'stored API key')),
      )
    }
    return access
  }

  get isEmpty(): boolean {
    return this.#keys.size === 0
  }

  /** The key's text is returned once and not kept. @throws BAD_INPUT without permissions */
  async create(key: NewKey): Promise<{ readonly id: string; readonly key: string }> {
    if (key.can.length === 0)
      throw new FeedmeshError('BAD_INPUT', 'a key without permissions: name some with --can read,publish,delete,admin')
    const id = Buffer.from(this.#randomBytes(8)).toString('hex')
    const secret = Buffer.from(this.#randomBytes(32)).toString('base64url')
    const name = key.name ?? `${key.feed ?? 'node'} ${key.can.join('+')}`
    const stored: KeyRecord = {
      name,
      feed: key.feed,
      can: [...new Set(key.can)],
      secretHash: sha256(secret),
      createdAt: this.#now(),
    }
    await this.#records.write([{ type: 'put', key: keys.apiKey(id), value: encodeCbor(keyShape, stored) }])
    this.#keys.set(id, withImplied(stored))
    return { id, key: `fmk_${id}_${secret}` }
  }

  /** @throws NOT_FOUND */
  async revoke(id: string): Promise<void> {
    if (!this.#keys.has(id))
      throw new FeedmeshError(
        'NOT_FOUND',
        `no API key ${JSON.stringify(id.slice(0, 40))}; feedmesh key list shows them`,
      )
    await this.#records.write([{ type: 'del', key: keys.apiKey(id) }])
    this.#keys.delete(id)
  }

  list(): KeySummary[] {
    return [...this.#keys].map(([id, { name, feed, can, createdAt }]) => ({
      id,
      name,
      feed,
      can,
      createdAt: new Date(createdAt).toISOString(),
    }))
  }

  /** Who holds `text`, and what that allows on `feed` (null: administration of the node). */
  findCaller(text: string, feed: string | null): Caller | undefined {
    const stored = this.#keys.get(this.#knownTexts.get(text) ?? '') ?? this.#findStored(text)
    if (stored === undefined) return undefined
    const covers = stored.feed === null || stored.feed === feed
    return { name: stored.name, permissions: covers ? stored.permissions : NO_PERMISSIONS }
  }

  #findStored(text: string): StoredKey | undefined {
    const [, id = '', secret = ''] = FORM.exec(text) ?? []
    const stored = this.#keys.get(id)
    if (stored === undefined || !timingSafeEqual(sha256(secret), stored.secretHash)) return undefined
    if (this.#knownTexts.size >= MAX_KNOWN_TEXTS) this.#knownTexts.clear()
    this.#knownTexts.set(text, id)
    return stored
  }
}
