/** What the server does for one feed type: finds the feed of a request and checks who asks. */

import type { FastifyRequest } from 'fastify'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Feed } from '../feeds/feed.ts'
import type { Caller, FeedHost, FeedType, MountHost } from '../feeds/feed-type.ts'
import { getCaller, hasKey, unauthenticated, verifyPermission } from './authentication.ts'
import { parseKeys } from './credentials.ts'
import type { NodeOperations } from './operations.ts'
import { requestOrigin } from './request-origin.ts'

export type FeedAccess = Pick<NodeOperations, 'openFeed' | 'openIndexes' | 'isPublicRead' | 'findCaller'>
export type MountAccess = FeedAccess & Pick<NodeOperations, 'listFeeds'>

/** `served`: names of the types whose feeds the routes of `type` answer for, itself included. */
export function createFeedHost(
  type: FeedType,
  operations: FeedAccess,
  served: readonly string[] = [type.name],
): FeedHost {
  const isServed = (feed: Feed | undefined): feed is Feed => feed !== undefined && served.includes(feed.type)
  return {
    async getFeed(request, permission) {
      const name = feedName(request)
      const feed = findFeed(operations, name)
      const isOpen = permission === 'read' && isServed(feed) && operations.isPublicRead(name)
      const keys = parseKeys(request.headers)
      if (keys.length === 0) {
        if (isOpen) return feed
        throw unauthenticated(false, name)
      }
      const caller = await getCaller(operations, request, { feed: name, permission, keys })
      if (!isServed(feed)) throw noSuchFeed(type, name, { feed, caller })
      if (!isOpen) verifyPermission(caller, permission, `in feed ${name}`)
      return feed
    },
    getCaller: (request) => getCaller(operations, request, { feed: feedName(request) }),
    findCaller: (request, key) => operations.findCaller(key, feedName(request)),
    async findFeed(request, name, permission) {
      const feed = findFeed(operations, name)
      if (!isServed(feed)) return undefined
      if (permission === 'read' && operations.isPublicRead(name)) return feed
      if (!hasKey(request)) return undefined
      const caller = await getCaller(operations, request, { feed: name, permission })
      return caller.permissions.has(permission) ? feed : undefined
    },
    getIndexes: (feed) => operations.openIndexes(feed.name),
    baseUrl: (request) => `${requestOrigin(request)}/${type.mount}/${encodeURIComponent(feedName(request))}`,
  }
}

export function createMountHost(type: FeedType, operations: MountAccess): MountHost {
  const host = createFeedHost(type, operations)
  return {
    async listReadable(request) {
      if (hasKey(request)) await getCaller(operations, request, { feed: null })
      const feeds = (await operations.listFeeds()).filter((feed) => feed.type === type.name)
      const found = await Promise.all(feeds.map(({ name }) => host.findFeed(request, name, 'read')))
      return found.filter((feed) => feed !== undefined)
    },
    async findCaller(request, key) {
      if (key === undefined) return hasKey(request) ? await getCaller(operations, request, { feed: null }) : undefined
      const caller = await operations.findCaller(key, null)
      if (caller === undefined) throw unauthenticated(true, null)
      return caller
    },
    baseUrl: (request) => `${requestOrigin(request)}/${type.mount}`,
  }
}

function feedName(request: FastifyRequest): string {
  return (request.params as { readonly feed: string }).feed
}

function findFeed(operations: FeedAccess, name: string): Feed | undefined {
  try {
    return operations.openFeed(name)
  } catch (error) {
    if (isFeedmeshError(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

function noSuchFeed(
  type: FeedType,
  name: string,
  { feed, caller }: { readonly feed: Feed | undefined; readonly caller: Caller },
): FeedmeshError {
  const other =
    feed !== undefined && caller.permissions.has('read') ? `; the feed of that name is of type ${feed.type}` : ''
  return new FeedmeshError('NOT_FOUND', `no ${type.name} feed ${JSON.stringify(name.slice(0, 80))} here${other}`)
}
