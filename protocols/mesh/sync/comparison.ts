/** By the tries: two of them are compared from the root, a level a round trip, and what differs is asked for. */

import { innerHash, LEAF_ENTRIES, type NodeRef } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { type Asking, receiveRow, segmentsOf } from './asker.ts'
import { MAX_PATHS, MAX_WANTED_ROWS } from './messages.ts'
import { decodeNode, hintOfEntry, isNameOf, type RemoteChild, type RemoteNode } from './node-form.ts'
import { MAX_SUBTREE_ENTRIES, type Subtree, SubtreeFetch } from './subtrees.ts'

/** From this many entries on, and with less than half of them here, a subtree is asked for whole. */
const MIN_SUBTREE_ENTRIES = 64
/** Deeper tries than this cannot come from honest places; see `placeOf`. */
const MAX_DEPTH_REQUESTS = 64

/** A place in the peer's trie that is to be looked at; hash and count are what its parent (or the manifest) said. */
interface Slot extends Subtree {
  /** Whether its node is asked for with whole hashes. */
  readonly wide: boolean
}

interface WantedRows {
  readonly path: string
  readonly hints: Buffer[]
}

type InnerNode = Extract<RemoteNode, { kind: 'inner' }>

class Comparison {
  readonly #asking: Asking
  readonly #isExact: boolean
  #next: Slot[] = []
  #wanted: WantedRows[] = []
  #subtrees: Subtree[] = []

  constructor(asking: Asking, isExact: boolean) {
    this.#asking = asking
    this.#isExact = isExact
  }

  async run(): Promise<void> {
    const { target, local } = this.#asking
    const root: Subtree = { path: '', count: target.entries, hash: Buffer.from(target.stateRoot) }
    this.#plan(root, local.count)
    for (let depth = 0; ; depth += 1) {
      // Parts that turn out to be too heavy are places to look at again.
      if (this.#next.length === 0) await this.#fetchSubtrees()
      if (this.#next.length === 0) break
      if (depth > MAX_DEPTH_REQUESTS) throw new FeedmeshError('PEER_INVALID', 'sync: the peer’s trie does not end')
      const slots = this.#next
      this.#next = []
      await this.#compareLevel(slots.filter((slot) => slot.wide))
      await this.#compareLevel(slots.filter((slot) => !slot.wide))
    }
    await this.#fetchRows(this.#wanted)
  }

  /** How what differs under a place is learnt: as a whole, in parts, or by looking closer. */
  #plan(subtree: Subtree, localCount: number): void {
    const isWhole = this.#isExact || isMostlyNew(subtree, localCount)
    if (isWhole && subtree.count <= (this.#isExact ? LEAF_ENTRIES : MAX_SUBTREE_ENTRIES)) this.#subtrees.push(subtree)
    else this.#next.push({ ...subtree, wide: isWhole })
  }

  async #fetchSubtrees(): Promise<void> {
    const subtrees = this.#subtrees
    this.#subtrees = []
    if (subtrees.length === 0) return
    const fetch = new SubtreeFetch(this.#asking, subtrees)
    await fetch.run()
    for (const heavy of fetch.heavy) this.#next.push({ ...heavy, wide: true })
  }

  async #compareLevel(slots: readonly Slot[]): Promise<void> {
    for (let at = 0; at < slots.length; at += MAX_PATHS) {
      const group = slots.slice(at, at + MAX_PATHS)
      const nodes = await this.#askNodes(group)
      for (const [index, slot] of group.entries()) await this.#compareNode(slot, nodes[index]!)
    }
  }

  async #askNodes(slots: readonly Slot[]): Promise<RemoteNode[]> {
    const { feedId, stateRoot } = this.#asking.target
    const paths = slots.map(({ path }) => path)
    const wide = slots[0]?.wide === true
    for await (const reply of this.#asking.main({ kind: 'nodes', feedId, stateRoot, paths, wide: wide ? 1 : 0 })) {
      if (reply.kind === 'nodes' && reply.nodes.length === paths.length) return reply.nodes.map(decodeNode)
    }
    throw new FeedmeshError('PEER_INVALID', 'sync: the peer did not answer with the nodes that were asked for')
  }

  async #compareNode(slot: Slot, node: RemoteNode): Promise<void> {
    // Counts add up to what was signed, so a peer cannot send for ever.
    if (countOf(node) !== slot.count)
      throw new FeedmeshError(
        'PEER_INVALID',
        `sync: ${countOf(node)} entries under ${slot.path || 'the root'}, not ${slot.count}`,
      )
    if (slot.wide) verifyWide(slot, node, this.#asking.target.stateRoot)
    if (node.kind === 'inner') return await this.#compareInner(slot.path, node)
    const { local, sink, target } = this.#asking
    const missing = new Set(node.kind === 'leaf' ? node.hints.map((hint) => hint.toString('hex')) : [])
    const gone: Buffer[] = []
    for (const entry of await local.entries(slot.path))
      if (!missing.delete(hintOfEntry(entry, target.stateRoot))) gone.push(entry.place)
    await sink.drop(gone)
    if (missing.size > 0)
      this.#wanted.push({ path: slot.path, hints: [...missing].map((hint) => Buffer.from(hint, 'hex')) })
  }

  async #compareInner(slot: string, node: InnerNode): Promise<void> {
    if (!node.path.startsWith(slot))
      throw new FeedmeshError('PEER_INVALID', `sync: trie node ${node.path} sent for ${slot}`)
    const { local, target } = this.#asking
    if (local.count > 0) await this.#dropOutside(slot, node)
    for (const child of node.children) {
      const path = node.path + child.nibble.toString(16)
      const here = local.count === 0 ? undefined : await local.findRef(path)
      const isSame = here?.count === child.count && isNameOf(child.hash, here.hash, target.stateRoot)
      if (!isSame) this.#plan({ path, count: child.count, hash: child.hash }, here?.count ?? 0)
    }
  }

  /** Local entries in the slot that the remote node leaves no room for. */
  async #dropOutside(slot: string, node: InnerNode): Promise<void> {
    const { local, sink } = this.#asking
    for (const path of placesOutside(slot, node)) {
      const entries = await local.entries(path)
      if (entries.length > 0) await sink.drop(entries.map((entry) => entry.place))
    }
  }

  async #fetchRows(wanted: readonly WantedRows[]): Promise<void> {
    let group: WantedRows[] = []
    let count = 0
    for (const want of wanted) {
      if (count + want.hints.length > MAX_WANTED_ROWS && count > 0) {
        await this.#fetchRowGroup(group, count)
        group = []
        count = 0
      }
      group.push(want)
      count += want.hints.length
    }
    if (count > 0) await this.#fetchRowGroup(group, count)
  }

  async #fetchRowGroup(group: readonly WantedRows[], count: number): Promise<void> {
    const { target, local, sink, main } = this.#asking
    const { feedId, stateRoot } = target
    const hints = new Set(group.flatMap((want) => want.hints.map((hint) => hint.toString('hex'))))
    const wants = group.map((want) => ({ path: want.path, hints: Buffer.concat(want.hints) }))
    let received = 0
    for await (const items of segmentsOf(main({ kind: 'rows', feedId, stateRoot, wants }))) {
      const rows = items.map((encoded) => receiveRow(encoded, local.salt))
      for (const one of rows)
        if (!hints.has(hintOfEntry(one, stateRoot)))
          throw new FeedmeshError('PEER_INVALID', `sync: row ${one.row.key} of ${one.row.unit} was not asked for`)
      received += rows.length
      if (received > count) break
      await sink.put(rows)
    }
    if (received !== count)
      throw new FeedmeshError('PEER_INVALID', `sync: ${received} rows instead of ${count}, or more`)
  }
}

function countOf(node: RemoteNode): number {
  if (node.kind === 'inner') return node.children.reduce((sum, child) => sum + child.count, 0)
  return node.kind === 'leaf' ? node.hints.length : 0
}

function isMostlyNew({ path, count }: Subtree, localCount: number): boolean {
  if (path === '' && localCount === 0) return true
  return count >= MIN_SUBTREE_ENTRIES && localCount * 2 < count
}

/** Slots beside the node's path, and beside its children. */
function placesOutside(slot: string, node: InnerNode): string[] {
  const outside: string[] = []
  for (let depth = slot.length; depth < node.path.length; depth += 1) {
    const kept = Number.parseInt(node.path[depth]!, 16)
    for (let nibble = 0; nibble < 16; nibble += 1)
      if (nibble !== kept) outside.push(node.path.slice(0, depth) + nibble.toString(16))
  }
  const present = new Set(node.children.map((child) => child.nibble))
  for (let nibble = 0; nibble < 16; nibble += 1) if (!present.has(nibble)) outside.push(node.path + nibble.toString(16))
  return outside
}

/** @throws PEER_INVALID when the node is not the one that its parent names, as far as the parent's hash tells */
function verifyWide(slot: Slot, node: RemoteNode, stateRoot: Uint8Array): void {
  if (node.kind === 'inner' && node.wide) {
    const children = node.children.map((child) => refOfChild(node.path, child))
    if (isNameOf(slot.hash, innerHash({ path: node.path, children }), stateRoot)) return
  }
  throw new FeedmeshError('PEER_INVALID', `sync: not the trie node that is under ${slot.path || 'the root'}`)
}

function refOfChild(path: string, { nibble, count, hash }: RemoteChild): NodeRef {
  return { path: path + nibble.toString(16), leaf: count <= LEAF_ENTRIES, count, hash }
}

/** By comparing tries. What the sink was given leads to the target's root if the peer was honest, unless hints collide. */
export function compareState(asking: Asking): Promise<void> {
  return new Comparison(asking, false).run()
}

/** The same by whole hashes only, for the case that two different entries share a hint: slow, and always right. */
export function compareExactly(asking: Asking): Promise<void> {
  return new Comparison(asking, true).run()
}
