/** What the server does for one feed type: finds the feed of a request and checks who asks. */

import type { FastifyRequest } from 'fastify'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Feed } from '../feeds/feed.ts'
import type { Caller, FeedHost, FeedType } from '../feeds/feed-type.ts'
import { getCaller, hasKey, unauthenticated, verifyPermission } from './authentication.ts'
import type { NodeOperations } from './operations.ts'
import { requestOrigin } from './request-origin.ts'

export type FeedAccess = Pick<NodeOperations, 'openFeed' | 'isPublicRead' | 'findCaller'>

export function createFeedHost(type: FeedType, operations: FeedAccess): FeedHost {
  return {
    async getFeed(request, permission) {
      const name = feedName(request)
      const feed = findFeed(operations, name)
      const isOpen = permission === 'read' && feed?.type === type.name && operations.isPublicRead(name)
      if (!hasKey(request)) {
        if (isOpen) return feed
        throw unauthenticated(false, name)
      }
      const caller = await getCaller(operations, request, { feed: name, permission })
      if (feed?.type !== type.name) throw noSuchFeed(type, name, { feed, caller })
      if (!isOpen) verifyPermission(caller, permission, `in feed ${name}`)
      return feed
    },
    getCaller: (request) => getCaller(operations, request, { feed: feedName(request) }),
    findCaller: (request, key) => operations.findCaller(key, feedName(request)),
    baseUrl: (request) => `${requestOrigin(request)}/${type.mount}/${encodeURIComponent(feedName(request))}`,
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
