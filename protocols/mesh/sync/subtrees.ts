/**
 * Whole subtrees, from several streams at once. Each is held against the hash that the trie names it by before any of it goes
 * on, so whoever sent something else is known at once, and the others go on with what is left.
 */

import { buildTrie, LEAF_ENTRIES } from '../../../src/catalog/trie.ts'
import { asFeedmeshError, FeedmeshError } from '../../../src/errors.ts'
import { type Ask, type Asking, type ReceivedRow, receiveRow, segmentsOf } from './asker.ts'
import { isNameOf } from './node-form.ts'

/** Rows of one request: larger subtrees are asked for in parts. */
export const MAX_SUBTREE_ENTRIES = 4096
/** Encoded rows of one subtree that are held at once, bytes; heavier ones are asked for in parts. */
const MAX_SUBTREE_BYTES = 16 * 1024 * 1024
/** Streams in use at once. */
const MAX_LANES = 3

export interface Subtree {
  readonly path: string
  readonly count: number
  /** The whole hash of its node, or a hint of it. */
  readonly hash: Buffer
}

interface Task extends Subtree {
  /** What has arrived, in order of place: kept when a stream breaks, and not asked for again. */
  rows: ReceivedRow[]
  /** Whether the rows came over more than one stream, so that a wrong hash blames nobody yet. */
  isMixed: boolean
}

/** Rows too heavy to be held at once. */
class TooHeavy extends Error {
  readonly subtree: Subtree

  constructor(subtree: Subtree) {
    super(`the rows under ${subtree.path} are too heavy to be received at once`)
    this.subtree = subtree
  }
}

export class SubtreeFetch {
  readonly #asking: Asking
  readonly #tasks: Task[]
  /** Subtrees that turned out to weigh too much: to be asked for in parts. */
  readonly heavy: Subtree[] = []
  #error: FeedmeshError | undefined

  constructor(asking: Asking, subtrees: readonly Subtree[]) {
    this.#asking = asking
    this.#tasks = subtrees.map((subtree) => ({ ...subtree, rows: [], isMixed: false })).reverse()
  }

  /** @throws what the last stream failed with, when no stream is left and something is missing */
  async run(): Promise<void> {
    const wanted = Math.min(MAX_LANES, this.#tasks.length) - 1
    const more = wanted > 0 ? await this.#asking.openMore(wanted) : []
    await Promise.all([this.#asking.main, ...more].map((ask) => this.#work(ask)))
    if (this.#tasks.length > 0 && this.#error !== undefined) throw this.#error
  }

  /** One stream takes subtrees until none is left or it fails; then the others go on with what it had begun. */
  async #work(ask: Ask): Promise<void> {
    for (let task = this.#tasks.pop(); task !== undefined; task = this.#tasks.pop()) {
      try {
        await this.#take(ask, task)
      } catch (thrown) {
        if (thrown instanceof TooHeavy) {
          this.heavy.push(thrown.subtree)
          continue
        }
        task.isMixed = task.rows.length > 0
        this.#tasks.push(task)
        this.#error = asFeedmeshError(thrown)
        return
      }
    }
  }

  async #take(ask: Ask, task: Task): Promise<void> {
    await this.#receive(ask, task)
    const { stateRoot } = this.#asking.target
    if (!isSubtree(task, stateRoot) && task.isMixed) {
      task.rows = []
      task.isMixed = false
      await this.#receive(ask, task)
    }
    const { path, rows } = task
    if (!isSubtree(task, stateRoot)) {
      task.rows = []
      throw new FeedmeshError('PEER_INVALID', `sync: the rows under ${path || 'the root'} are not those of the trie`)
    }
    await this.#handOn(path, rows)
  }

  async #receive(ask: Ask, task: Task): Promise<void> {
    const { target, local } = this.#asking
    const { feedId, stateRoot } = target
    const after = task.rows.at(-1)?.place ?? null
    let bytes = task.rows.reduce((sum, { encoded }) => sum + encoded.length, 0)
    for await (const items of segmentsOf(ask({ kind: 'subtree', feedId, stateRoot, path: task.path, after }))) {
      for (const encoded of items) {
        const received = receiveRow(encoded, local.salt)
        verifyNext(task, received)
        task.rows.push(received)
        bytes += encoded.length
      }
      if (bytes > MAX_SUBTREE_BYTES && task.count > LEAF_ENTRIES) throw new TooHeavy(task)
    }
  }

  /** Only what differs from what is here. */
  async #handOn(path: string, rows: readonly ReceivedRow[]): Promise<void> {
    const { local, sink } = this.#asking
    const here = new Map(
      local.count === 0 ? [] : (await local.entries(path)).map((entry) => [entry.place.toString('hex'), entry]),
    )
    const puts: ReceivedRow[] = []
    for (const row of rows) {
      const place = row.place.toString('hex')
      if (here.get(place)?.digest.equals(row.digest) !== true) puts.push(row)
      here.delete(place)
    }
    await sink.drop([...here.values()].map((entry) => entry.place))
    await sink.put(puts)
  }
}

/** @throws PEER_INVALID when the row lies outside, is out of order, or one too many */
function verifyNext({ path, count, rows }: Task, { place, row }: ReceivedRow): void {
  if (rows.length >= count)
    throw new FeedmeshError('PEER_INVALID', `sync: more than the ${count} rows under ${path || 'the root'}`)
  const before = rows.at(-1)
  const isInOrder = before === undefined || before.place.compare(place) < 0
  if (!isInOrder || !place.toString('hex', 0, (path.length + 1) >> 1).startsWith(path))
    throw new FeedmeshError(
      'PEER_INVALID',
      `sync: row ${row.key} of ${row.unit} is not the next one under ${path || 'the root'}`,
    )
}

function isSubtree({ path, count, hash, rows }: Task, stateRoot: Uint8Array): boolean {
  return rows.length === count && isNameOf(hash, buildTrie(rows, path).hash, stateRoot)
}
