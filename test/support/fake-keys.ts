/** API keys in memory. */

import { randomBytes } from 'node:crypto'
import { FeedmeshError } from '../../src/errors.ts'
import type { Caller, Permission } from '../../src/feeds/feed-type.ts'
import type { KeySummary } from '../../src/http/operations.ts'
import { AT } from './fake-results.ts'

interface StoredKey extends KeySummary {
  readonly key: string
}

export const ALL_PERMISSIONS: readonly Permission[] = ['read', 'publish', 'delete', 'admin']

export class FakeKeys {
  readonly #keys = new Map<string, StoredKey>()

  add(feed: string | null, can: readonly Permission[], name = `${feed ?? 'node'} ${can.join('+')}`): string {
    const id = randomBytes(8).toString('hex')
    const key = `fmk_${id}_${randomBytes(32).toString('base64url')}`
    this.#keys.set(id, { id, name, feed, can, createdAt: AT, key })
    return key
  }

  list(): KeySummary[] {
    return [...this.#keys.values()].map(({ key: _key, ...summary }) => summary)
  }

  /** @throws NOT_FOUND */
  revoke(id: string): void {
    if (!this.#keys.delete(id)) throw new FeedmeshError('NOT_FOUND', `no API key ${JSON.stringify(id)}`)
  }

  findCaller(key: string, feed: string | null): Caller | undefined {
    const stored = [...this.#keys.values()].find((candidate) => candidate.key === key)
    if (stored === undefined) return undefined
    const covers = stored.feed === null || stored.feed === feed
    const implied = stored.can.includes('admin') ? ALL_PERMISSIONS : [...stored.can, 'read' as const]
    return { name: stored.name, permissions: new Set(covers ? implied : []) }
  }
}
