/**
 * What clients of the nodes were told: each feed's own rows as far as they were acknowledged. Where an answer never came,
 * both the old and the new are right until the node says which.
 */

import assert from 'node:assert/strict'
import { sha256 } from '../../src/catalog/digest.ts'
import type { Registry } from '../../src/ledger/registry.ts'
import type { SimNode } from './sim-node.ts'

/** Digest of the content of a row; `burned`, or `absent`. */
export type Content = string

interface Promised {
  /** What may be there; one of them. */
  may: Set<Content>
  /** All that ever was. */
  readonly ever: Set<Content>
}

export function contentOf(bytes: Uint8Array): Content {
  return sha256(bytes).toString('hex')
}

export class Promises {
  /** Node → unit → key → what was promised. */
  readonly #nodes = new Map<string, Map<string, Map<string, Promised>>>()

  #units(node: SimNode): Map<string, Map<string, Promised>> {
    const known = this.#nodes.get(node.name) ?? new Map<string, Map<string, Promised>>()
    this.#nodes.set(node.name, known)
    return known
  }

  #get(node: SimNode, unit: string, key: string): Promised {
    const units = this.#units(node)
    const rows = units.get(unit) ?? new Map<string, Promised>()
    units.set(unit, rows)
    const promised = rows.get(key) ?? { may: new Set(['absent']), ever: new Set(['absent']) }
    rows.set(key, promised)
    return promised
  }

  /** A change is under way: from now on both may be there. */
  begin(node: SimNode, change: { readonly unit: string; readonly key: string; readonly content: Content }): void {
    const promised = this.#get(node, change.unit, change.key)
    promised.may.add(change.content)
    promised.ever.add(change.content)
  }

  /** It was acknowledged. */
  keep(node: SimNode, change: { readonly unit: string; readonly key: string; readonly content: Content }): void {
    this.#get(node, change.unit, change.key).may = new Set([change.content])
  }

  /** It was refused before anything happened. */
  drop(node: SimNode, change: { readonly unit: string; readonly key: string; readonly content: Content }): void {
    const promised = this.#get(node, change.unit, change.key)
    if (promised.may.size > 1) promised.may.delete(change.content)
  }

  /** Keys of the unit that hold content for certain. */
  present(node: SimNode, unit: string): string[] {
    return [...(this.#units(node).get(unit) ?? [])]
      .filter(([key, { may }]) => key.startsWith('v/') && may.size === 1 && !may.has('absent') && !may.has('burned'))
      .map(([key]) => key)
  }

  /** The disk was replaced by one of an earlier time: anything between that and now may come back from peers. */
  weaken(node: SimNode): void {
    for (const rows of this.#units(node).values())
      for (const promised of rows.values()) for (const content of promised.ever) promised.may.add(content)
  }

  /** Everything is gone with the disk, and the feed with it. */
  forget(node: SimNode): void {
    this.#nodes.delete(node.name)
  }

  /** @throws when an own row of the node is not what was promised */
  async verify(node: SimNode, registry: Registry): Promise<void> {
    for (const [unit, rows] of this.#units(node)) {
      const stored = new Map((await registry.readSource(node.feedId, unit)).map(({ row }) => [row.key, row]))
      for (const [key, { may }] of rows) {
        const row = stored.get(key)
        const content =
          row === undefined
            ? 'absent'
            : row.rowClass === 'burn'
              ? 'burned'
              : (row.files.find((file) => file.role === 'file')?.digest.slice('sha256:'.length) ?? contentOf(row.meta))
        assert.ok(
          may.has(content),
          `${node.name}: ${unit} ${key} is ${content.slice(0, 12)}, but its client was told ${[...may].map((each) => each.slice(0, 12)).join(' or ')}`,
        )
      }
    }
  }
}
