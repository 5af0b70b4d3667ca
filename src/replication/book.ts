/** What is agreed: replications of this node, links made under them, tokens given out. Kept in memory and in the store. */

import {
  bool,
  bytes,
  decodeCbor,
  encodeCbor,
  list,
  nullable,
  optional,
  record,
  type Shape,
  type Shaped,
  text,
  uint,
  word,
} from '../catalog/cbor.ts'
import type { FeedId } from '../catalog/charter.ts'
import { COMMUNICATION_MODES, grantedVerbs, REPLICATION_MODES, SERVE_SETTINGS } from '../catalog/policy.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { KeyRange, Records, Write } from '../store/records.ts'
import { readStored } from '../store/stored-bytes.ts'

const globs = list(text(256), 64)
const time = uint()

const replicationShape = record({
  feeds: [1, list(record({ local: [1, text(128)], remote: [2, nullable(text(128))] }), 64)],
  communication: [2, word(COMMUNICATION_MODES)],
  mode: [3, word(REPLICATION_MODES)],
  /** Names the token of an incoming replication; null for `peer` authentication and for outgoing ones. */
  tokenId: [4, nullable(bytes({ size: 8 }))],
  /** PeerIds that may link, or (outgoing) the one peer to link with. */
  peers: [5, list(text(64), 64)],
  url: [6, nullable(text(2048))],
  addresses: [7, list(text(256), 32)],
  availability: [8, word(['full', 'on-demand'])],
  deletes: [9, word(['follow', 'keep'])],
  scope: [10, globs],
  include: [11, globs],
  exclude: [12, globs],
  mayExtend: [13, bool],
  relay: [14, bool],
  everyMs: [15, uint()],
  paused: [16, bool],
  createdAt: [17, time],
  /** For whom blobs that it brings or gives are read out, beside linked peers. */
  serve: [18, optional(word(SERVE_SETTINGS), 'site')],
  /** Bytes of files fetched on demand that are kept; 0 = as the disk allows. */
  quotaBytes: [19, optional(uint(), 0)],
  /** Items whose files are brought ahead of any request, and stay. */
  pins: [20, { ...globs, absent: { value: [] } }],
  /** Bytes a second, each way, with each linked peer; 0 = as the network allows. */
  maxRate: [21, optional(uint(), 0)],
  /** When runs by schedule may be under way, such as `22:00-06:00`, local time; empty = always. */
  window: [22, optional(text(11), '')],
})
export type ReplicationRecord = Shaped<typeof replicationShape>
export type Replication = ReplicationRecord & { readonly id: string }

const linkShape = record({
  replication: [1, text(32)],
  peer: [2, text(64)],
  local: [3, bytes({ size: 32 })],
  localName: [4, text(128)],
  remote: [5, bytes({ size: 32 })],
  remoteName: [6, text(128)],
  tokenId: [7, nullable(bytes({ size: 8 }))],
  linkedAt: [8, time],
  revokedAt: [9, nullable(time)],
  /** Where the peer was last reached, for redialling after a restart. */
  addresses: [10, list(text(256), 32)],
  confirmed: [11, nullable(record({ digest: [1, bytes({ size: 32 })], at: [2, time], entries: [3, uint()] }))],
  lastError: [12, nullable(record({ code: [1, text(64)], message: [2, text(2048)], at: [3, time] }))],
  /** When this end was last equal to what the other end had signed; null = never. */
  equalAt: [13, nullable(time)],
  /** Grant chain that lets this node read the remote feed, newest. */
  grant: [14, list(bytes({ max: 4096 }), 8)],
})
export type LinkRecord = Shaped<typeof linkShape>
export type Link = LinkRecord & { readonly id: string }

const tokenShape = record({
  replication: [1, text(32)],
  publicKey: [2, bytes({ size: 32 })],
  feedIds: [3, list(bytes({ size: 32 }), 64)],
  createdAt: [4, time],
  expiresAt: [5, nullable(time)],
  usesLeft: [6, nullable(uint())],
  revokedAt: [7, nullable(time)],
})
export type TokenRecord = Shaped<typeof tokenShape>
export type Token = TokenRecord & { readonly id: string }

/** Records of one kind in memory and in the store; memory changes after the store. */
class Shelf<T extends object> {
  readonly #records: Records
  readonly #shape: Shape<T>
  readonly #keyOf: (id: string) => Uint8Array
  readonly #entries = new Map<string, T & { readonly id: string }>()

  constructor(records: Records, shape: Shape<T>, keyOf: (id: string) => Uint8Array) {
    this.#records = records
    this.#shape = shape
    this.#keyOf = keyOf
  }

  async load(range: KeyRange, idOf: (key: Uint8Array) => string): Promise<this> {
    for await (const [key, value] of this.#records.scan(range)) {
      const id = idOf(key)
      this.#entries.set(id, { ...decodeCbor(this.#shape, value, 'stored record'), id })
    }
    return this
  }

  all(): (T & { readonly id: string })[] {
    return [...this.#entries.values()]
  }

  find(id: string): (T & { readonly id: string }) | undefined {
    return this.#entries.get(id)
  }

  writeOf(id: string, value: T): Write {
    return { type: 'put', key: this.#keyOf(id), value: encodeCbor(this.#shape, value) }
  }

  removalOf(id: string): Write {
    return { type: 'del', key: this.#keyOf(id) }
  }

  /** After the write is on disk. */
  keep(id: string, value: T | undefined): void {
    if (value === undefined) this.#entries.delete(id)
    else this.#entries.set(id, { ...value, id })
  }

  async put(id: string, value: T): Promise<T & { readonly id: string }> {
    await this.#records.write([this.writeOf(id, value)])
    this.keep(id, value)
    return { ...value, id }
  }
}

function textId(key: Uint8Array): string {
  return Buffer.from(key.subarray(1)).toString()
}

export class Book {
  readonly replications: Shelf<ReplicationRecord>
  readonly links: Shelf<LinkRecord>
  readonly tokens: Shelf<TokenRecord>
  readonly #records: Records

  private constructor(records: Records) {
    this.#records = records
    this.replications = new Shelf(records, replicationShape, keys.replication)
    this.links = new Shelf(records, linkShape, keys.link)
    this.tokens = new Shelf(records, tokenShape, (id) => keys.token(Buffer.from(id, 'hex')))
  }

  static async open(records: Records): Promise<Book> {
    const book = new Book(records)
    await readStored('a replication', async () => {
      await book.replications.load(keys.replications(), textId)
      await book.links.load(keys.links(), textId)
      await book.tokens.load(keys.tokens(), (key) => Buffer.from(key.subarray(1)).toString('hex'))
    })
    return book
  }

  /** @throws NOT_FOUND */
  getReplication(id: string): Replication {
    const found = this.replications.find(id)
    if (found === undefined)
      throw new FeedmeshError(
        'NOT_FOUND',
        `no replication ${JSON.stringify(id.slice(0, 40))}; feedmesh replication list shows them`,
      )
    return found
  }

  linksOf(replication: string): Link[] {
    return this.links.all().filter((link) => link.replication === replication)
  }

  /** Live links with a peer. */
  linksWith(peer: string): Link[] {
    return this.links.all().filter((link) => link.peer === peer && link.revokedAt === null)
  }

  /** Links that this end signed `verb` for, on `feed` itself. */
  grantsOf(peer: string, verb: 'read' | 'offer', feed: FeedId): Link[] {
    return this.linksWith(peer).filter((link) => {
      const replication = this.replications.find(link.replication)
      return (
        replication !== undefined &&
        Buffer.from(link.local).toString('hex') === feed &&
        grantedVerbs(replication).includes(verb)
      )
    })
  }

  /** A token use, the replication and its links in one batch: all or nothing. */
  async commit(change: {
    readonly links?: readonly Link[]
    readonly tokens?: readonly Token[]
    readonly replications?: readonly Replication[]
    readonly removedLinks?: readonly Link[]
  }): Promise<void> {
    const writes = [
      ...(change.links ?? []).map((link) => this.links.writeOf(link.id, link)),
      ...(change.tokens ?? []).map((token) => this.tokens.writeOf(token.id, token)),
      ...(change.replications ?? []).map((replication) => this.replications.writeOf(replication.id, replication)),
      ...(change.removedLinks ?? []).map((link) => this.links.removalOf(link.id)),
    ]
    await this.#records.write(writes)
    for (const link of change.links ?? []) this.links.keep(link.id, link)
    for (const token of change.tokens ?? []) this.tokens.keep(token.id, token)
    for (const replication of change.replications ?? []) this.replications.keep(replication.id, replication)
    for (const link of change.removedLinks ?? []) this.links.keep(link.id, undefined)
  }

  /** Removes a replication with its links and tokens. */
  async removeReplication(id: string): Promise<void> {
    const links = this.linksOf(id)
    const tokens = this.tokens.all().filter((token) => token.replication === id)
    await this.#records.write([
      this.replications.removalOf(id),
      ...links.map((link) => this.links.removalOf(link.id)),
      ...tokens.map((token) => this.tokens.removalOf(token.id)),
    ])
    this.replications.keep(id, undefined)
    for (const link of links) this.links.keep(link.id, undefined)
    for (const token of tokens) this.tokens.keep(token.id, undefined)
  }
}
