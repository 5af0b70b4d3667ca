/** Feeds of the node that `fake-operations.ts` pretends to be. */

import { FEED_TYPES } from '../../protocols/feeds/index.ts'
import type { Feed, UnsignedPolicy } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import type { NewFeed } from '../../src/http/feed-settings.ts'
import type { FeedSummary } from '../../src/http/operations.ts'

export interface FakeFeed {
  readonly feed: Feed
  readonly publicRead: boolean
  readonly unsigned: UnsignedPolicy
}

export type FakeFeedOptions = Partial<Omit<NewFeed, 'name' | 'type'>> & { readonly maxFileBytes?: number }

export function createFakeFeed(name: string, type: string, options: FakeFeedOptions): FakeFeed {
  const { publicRead = false, maxFileBytes = 1024 ** 3, unsigned = 'accept' } = options
  return { feed: createMemoryFeed({ name, type, maxFileBytes, unsigned }), publicRead, unsigned }
}

export async function summarizeFeed({ feed, publicRead, unsigned }: FakeFeed): Promise<FeedSummary> {
  let [entries, bytes] = [0, 0]
  for await (const unit of feed.list({ limit: 10_000 })) {
    entries += 1
    bytes += unit.bytes
  }
  const isAble = FEED_TYPES.some((type) => type.name === feed.type && type.hasPackageSignatures === true)
  const policy = isAble ? { unsigned } : {}
  return { id: `id-${feed.name}`, name: feed.name, type: feed.type, publicRead, ...policy, entries, bytes }
}
