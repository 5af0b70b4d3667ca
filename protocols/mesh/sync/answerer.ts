/**
 * The answering side of `/feedmesh/sync/1`. Pure: what is here is handed in. Whether the peer may ask was decided before
 * (`replication/guard.ts`). Every answer is about the state whose root the asker named; when the feed has moved on since,
 * the answer is CONFLICT and the asker starts again from the new head.
 */

import type { NodeRef, TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { type HeadReply, HINT_BYTES, type SyncReply, type SyncRequest } from './messages.ts'
import { encodeInner, encodeLeaf, encodeWide, hintOfEntry } from './node-form.ts'
import { encodeSegment, groupItems } from './segments.ts'

/** The state of one feed as this node serves it. */
export interface ServedState {
  readonly stateRoot: Uint8Array
  /** The node that holds exactly what is under `slot`. */
  findNode(slot: string): Promise<{ readonly path: string; readonly children: readonly NodeRef[] } | undefined>
  entries(path: string): Promise<TrieEntry[]>
  /** Encoded rows under a path in order of place, with their places. */
  rows(path: string, after: Uint8Array | null): AsyncIterable<readonly [place: Uint8Array, row: Uint8Array]>
  /** @throws NOT_FOUND when the log does not reach back to `from` */
  operations(epoch: number, from: number, to: number): AsyncIterable<Uint8Array>
}

export interface SyncSource {
  /** @throws NOT_FOUND */
  head(request: Extract<SyncRequest, { kind: 'head' }>): Promise<HeadReply>
  /** The state with this root, if it is still served; else the present one. @throws NOT_FOUND */
  getServed(feedId: Uint8Array, stateRoot: Uint8Array): ServedState
}

async function* answerNodes(
  state: ServedState,
  { paths, wide }: Extract<SyncRequest, { kind: 'nodes' }>,
): AsyncGenerator<SyncReply> {
  const nodes: Uint8Array[] = []
  for (const slot of paths) {
    const node = await state.findNode(slot)
    if (node === undefined) nodes.push(encodeLeaf(await state.entries(slot), state.stateRoot))
    else nodes.push(wide === 1 ? encodeWide(node) : encodeInner(node, state.stateRoot))
  }
  yield { kind: 'nodes', nodes }
}

async function* wantedRows(
  state: ServedState,
  wants: Extract<SyncRequest, { kind: 'rows' }>['wants'],
): AsyncGenerator<Uint8Array> {
  for (const { path, hints } of wants) {
    const asked = Buffer.from(hints)
    if (asked.length % HINT_BYTES !== 0) throw new FeedmeshError('BAD_INPUT', 'sync: hints are cut off')
    // Rows are named by leaf, so that one request never reads more than the leaves it names.
    if ((await state.findNode(path)) !== undefined)
      throw new FeedmeshError('BAD_INPUT', `sync: ${path || 'the root'} is not a leaf; ask for its subtree`)
    const wanted = new Set(
      Array.from({ length: asked.length / HINT_BYTES }, (_, at) =>
        asked.toString('hex', at * HINT_BYTES, (at + 1) * HINT_BYTES),
      ),
    )
    const places = (await state.entries(path))
      .filter((entry) => wanted.has(hintOfEntry(entry, state.stateRoot)))
      .map((entry) => entry.place.toString('hex'))
    const chosen = new Set(places)
    for await (const [place, row] of state.rows(path, null))
      if (chosen.has(Buffer.from(place).toString('hex'))) yield row
  }
}

async function* rowsOnly(rows: AsyncIterable<readonly [Uint8Array, Uint8Array]>): AsyncGenerator<Uint8Array> {
  for await (const [, row] of rows) yield row
}

async function* answerSegments(items: AsyncIterable<Uint8Array>): AsyncGenerator<SyncReply> {
  let held: Uint8Array[] | undefined
  for await (const group of groupItems(items)) {
    if (held !== undefined) yield { kind: 'segment', ...encodeSegment(held), more: 1 }
    held = group
  }
  yield { kind: 'segment', ...encodeSegment(held ?? []), more: 0 }
}

function getState(
  source: SyncSource,
  request: { readonly feedId: Uint8Array; readonly stateRoot: Uint8Array },
): ServedState {
  const state = source.getServed(request.feedId, request.stateRoot)
  if (Buffer.compare(state.stateRoot, request.stateRoot) !== 0)
    throw new FeedmeshError('CONFLICT', 'the feed has moved on; ask for its head again')
  return state
}

/** The replies to one request; errors are thrown for the caller to send. */
export async function* answerSync(source: SyncSource, request: SyncRequest): AsyncGenerator<SyncReply> {
  if (request.kind === 'head') {
    yield await source.head(request)
    return
  }
  const state = getState(source, request)
  if (request.kind === 'nodes') yield* answerNodes(state, request)
  else if (request.kind === 'rows') yield* answerSegments(wantedRows(state, request.wants))
  else if (request.kind === 'subtree') yield* answerSegments(rowsOnly(state.rows(request.path, request.after)))
  else yield* answerSegments(state.operations(request.epoch, request.from, request.to))
}
