/** The ledger as the answering side of the sync protocol sees it. */

import { answerSync, type ServedState, type SyncSource } from '../../protocols/mesh/sync/answerer.ts'
import {
  type HeadReply,
  MAX_CHARTERS,
  MAX_HEAD_TAIL_BYTES,
  SYNC_PROTOCOL,
  type SyncReply,
  type SyncRequest,
  syncReply,
  syncRequest,
} from '../../protocols/mesh/sync/messages.ts'
import { encodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { feedIdText } from '../catalog/charter.ts'
import type { ForkProof } from '../catalog/fork-proof.ts'
import { compareOrder, type Manifest } from '../catalog/manifest.ts'
import type { Signed } from '../catalog/signed.ts'
import type { NodeRef, TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import { hasCharter } from '../ledger/charter-chain.ts'
import { type FeedState, readCharters } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'
import { findInner, RecordTrie } from '../ledger/record-trie.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import { keys } from '../store/keys.ts'
import { NOT_HERE, type Policy, serveGuarded } from './guard.ts'
import { SYNC_IDLE_MS } from './sync-streams.ts'

/** More operations are asked for by `tail`. */
const MAX_HEAD_OPERATIONS = 512

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

/** Two large charters as a proof wait for a reply without charters. */
function hasRoom(charters: readonly Uint8Array[], { first, second }: ForkProof): boolean {
  const size = charters.reduce((sum, charter) => sum + charter.length, first.length + second.length)
  return charters.length === 0 || size <= MAX_CHARTERS_BYTES
}

/** Also another manifest of the same order: two such are the proof of a fork. */
function isNewsFor(manifest: Signed<Manifest>, request: Extract<SyncRequest, { kind: 'head' }>): boolean {
  const order = compareOrder(manifest.value, request)
  return (
    order > 0 || (order === 0 && request.manifest !== null && Buffer.compare(manifest.hash, request.manifest) !== 0)
  )
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
    const newer = manifest !== undefined && isNewsFor(manifest, request)
    const charters = fitIntoReply(await this.#chartersFor(state, request))
    const fork = this.#registry.forks.findOpen(state)?.proof
    // A manifest leaves this node only after the floor file names it.
    await this.#floor.flush()
    return {
      kind: 'head',
      charters,
      manifest: newer ? manifest.bytes : null,
      deps: newer ? state.deps : [],
      revocations: newer ? state.revocations : null,
      logFrom: state.logFrom,
      tail: newer ? await this.#tailFor(state, request) : null,
      fork: fork !== undefined && hasRoom(charters, fork) ? fork : null,
    }
  }

  /** Those after the asker's, if that is one of ours; else the newest alone, from which the asker tells who of both is behind. */
  async #chartersFor(state: FeedState, request: Extract<SyncRequest, { kind: 'head' }>): Promise<Uint8Array[]> {
    if (!(await hasCharter(this.#registry.records, state, request))) return [state.charter.bytes]
    if (request.charterVersion === state.charter.value.version) return []
    return await readCharters(this.#registry.records, state.number, request.charterVersion + 1)
  }

  /** All operations that the asker lacks, if the log reaches back and they are few. */
  async #tailFor(state: FeedState, request: Extract<SyncRequest, { kind: 'head' }>): Promise<HeadReply['tail']> {
    const manifest = state.manifest?.value
    const { epoch, logSize } = request
    if (manifest === undefined || manifest.epoch !== epoch || logSize === null) return null
    const wanted = manifest.logSize - logSize
    if (logSize < state.logFrom || wanted < 0 || wanted > MAX_HEAD_OPERATIONS) return null
    const operations: Uint8Array[] = []
    let size = 0
    for await (const operation of new LedgerState(this.#registry, state).operations(epoch, logSize, manifest.logSize)) {
      operations.push(operation)
      size += operation.length + 4
      if (size > MAX_HEAD_TAIL_BYTES) return null
    }
    return operations.length === wanted ? encodeSegment(operations) : null
  }

  getServed(feedId: Uint8Array, stateRoot: Uint8Array): ServedState {
    const now = this.#find(feedId)
    return new LedgerState(this.#registry, this.#registry.findServed(now.feedId, stateRoot) ?? now)
  }

  #find(feedId: Uint8Array): FeedState {
    const state = this.#registry.states.get(feedIdText(feedId))
    if (state === undefined) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
    return state
  }
}

/** Answers peers that may read the feed they ask about, from here on. */
export async function serveSync(
  host: MeshHost,
  policy: Policy,
  source: SyncSource,
  answer: (source: SyncSource, request: SyncRequest) => AsyncIterable<SyncReply> = answerSync,
): Promise<void> {
  await serveGuarded<SyncRequest, SyncReply>(host, policy, {
    protocol: SYNC_PROTOCOL,
    verb: 'read',
    limits: { maxInboundStreams: 16, maxDurationMs: 3_600_000, idleMs: SYNC_IDLE_MS },
    shapes: { request: syncRequest, reply: syncReply },
    answer: async (request, replies) => {
      for await (const reply of answer(source, request)) await replies.send(reply)
    },
  })
}
