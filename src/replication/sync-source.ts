/** The ledger as the answering side of the sync protocol sees it. */

import type { ServedState, SyncSource } from '../../protocols/mesh/sync/answerer.ts'
import { type HeadReply, MAX_CHARTERS, type SyncRequest } from '../../protocols/mesh/sync/messages.ts'
import { feedIdText } from '../catalog/charter.ts'
import { compareOrder } from '../catalog/manifest.ts'
import type { NodeRef, TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import { type FeedState, readCharters } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'
import { RecordTrie } from '../ledger/record-trie.ts'
import type { Registry } from '../ledger/registry.ts'
import { keys } from '../store/keys.ts'
import { NOT_HERE } from './guard.ts'

/** Follows inner nodes from the root to the one that holds exactly what is under `slot`; undefined when that is a leaf or nothing. */
export async function findInner(trie: RecordTrie, root: NodeRef, slot: string): Promise<NodeRef | undefined> {
  let ref: NodeRef | undefined = root
  while (ref !== undefined && !ref.leaf) {
    const path: string = ref.path
    if (path.startsWith(slot)) return ref
    if (!slot.startsWith(path)) return undefined
    const nibble = slot[path.length]
    const node = await trie.getNode(path)
    ref = node.children.find((child) => child.path[path.length] === nibble)
  }
  return undefined
}

/** Charters of one reply, bytes; the asker asks again for those that follow. */
const MAX_CHARTERS_BYTES = 512 * 1024

function fitIntoReply(charters: readonly Uint8Array[]): Uint8Array[] {
  const fitting: Uint8Array[] = []
  let size = 0
  for (const charter of charters.slice(0, MAX_CHARTERS)) {
    size += charter.length
    if (size > MAX_CHARTERS_BYTES && fitting.length > 0) break
    fitting.push(charter)
  }
  return fitting
}

class LedgerState implements ServedState {
  readonly #registry: Registry
  readonly #state: FeedState
  readonly #trie: RecordTrie

  constructor(registry: Registry, state: FeedState) {
    this.#registry = registry
    this.#state = state
    this.#trie = RecordTrie.ofState(registry.records, state.number, state.generation)
  }

  get stateRoot(): Uint8Array {
    return this.#state.root.hash
  }

  async findNode(slot: string): Promise<{ readonly path: string; readonly children: readonly NodeRef[] } | undefined> {
    const ref = await findInner(this.#trie, this.#state.root, slot)
    return ref === undefined ? undefined : await this.#trie.getNode(ref.path)
  }

  async entries(path: string): Promise<TrieEntry[]> {
    return await this.#trie.entries(path)
  }

  async *rows(path: string, after: Uint8Array | null): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    yield* this.#trie.values(path, after ?? undefined)
  }

  async *operations(epoch: number, from: number, to: number): AsyncGenerator<Uint8Array> {
    const manifest = this.#state.manifest?.value
    if (manifest?.epoch !== epoch || from < this.#state.logFrom || to > manifest.logSize) {
      throw new FeedmeshError('NOT_FOUND', `the log of the feed is not here from operation ${from} on`)
    }
    const { number } = this.#state
    for await (const [, value] of this.#registry.records.scan({
      gte: keys.operation(number, epoch, from),
      lt: keys.operation(number, epoch, to),
    }))
      yield value
  }
}

export class LedgerSyncSource implements SyncSource {
  readonly #registry: Registry
  readonly #floor: Floor

  constructor(registry: Registry, floor: Floor) {
    this.#registry = registry
    this.#floor = floor
  }

  async head(request: Extract<SyncRequest, { kind: 'head' }>): Promise<HeadReply> {
    const state = this.#find(request.feedId)
    const { manifest } = state
    const newer = manifest !== undefined && compareOrder(manifest.value, request) > 0
    const charters =
      state.charter.value.version > request.charterVersion
        ? await readCharters(this.#registry.records, state.number, request.charterVersion + 1)
        : []
    // A manifest leaves this node only after the floor file names it.
    await this.#floor.flush()
    return {
      kind: 'head',
      charters: fitIntoReply(charters),
      manifest: newer ? manifest.bytes : null,
      deps: newer ? state.deps : [],
      revocations: newer ? state.revocations : null,
      logFrom: state.logFrom,
    }
  }

  getServed(feedId: Uint8Array): ServedState {
    return new LedgerState(this.#registry, this.#find(feedId))
  }

  #find(feedId: Uint8Array): FeedState {
    const state = this.#registry.states.get(feedIdText(feedId))
    if (state === undefined) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
    return state
  }
}
