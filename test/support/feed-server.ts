/** Feed types on a Fastify server with feeds in memory and two keys, for tests of routes and of real clients. */

import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { FEED_TYPES } from '../../protocols/feeds/index.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import type { Caller, FeedHost, FeedType, MountHost, Permission } from '../../src/feeds/feed-type.ts'
import { createMemoryFeed, type MemoryFeedOptions } from '../../src/feeds/memory-feed.ts'
import type { SignedIndexes } from '../../src/feeds/signed-index.ts'
import { createMemoryIndexes } from './memory-indexes.ts'

export const READER_KEY = 'fm_reader_0123456789abcdef'
export const PUBLISHER_KEY = 'fm_publisher_0123456789abcdef'

const CALLERS: Readonly<Record<string, Caller>> = {
  [READER_KEY]: { name: 'reader', permissions: new Set<Permission>(['read']) },
  [PUBLISHER_KEY]: { name: 'publisher', permissions: new Set<Permission>(['read', 'publish', 'delete']) },
}

export interface FeedServer extends AsyncDisposable {
  readonly app: FastifyInstance
  /** Makes an empty feed of a type; its URL is `/<mount>/<name>`. */
  addFeed(type: string, name: string, options?: Partial<Omit<MemoryFeedOptions, 'name' | 'type'>>): Feed
  /** Listens on a free port of the loopback interface; resolves to `http://127.0.0.1:PORT`. */
  listen(): Promise<string>
}

export async function createFeedServer(types: readonly FeedType[] = FEED_TYPES): Promise<FeedServer> {
  const feeds = new Map<string, Feed>()
  const indexes = new Map<Feed, SignedIndexes>()
  const app = fastify({ routerOptions: { maxParamLength: 1024 }, forceCloseConnections: true })
  for (const type of types) {
    const sharing = types.filter(({ mount }) => mount === type.mount)
    if (sharing[0] !== type) continue
    const served = sharing.map(({ name }) => name)
    const host: FeedHost = { ...createHost(type, feeds, served), getIndexes: (feed) => getIndexes(indexes, feed) }
    const mountHost = createMountHost(type, feeds)
    await app.register(async (scope) => type.mountRoutes?.(scope, mountHost), { prefix: `/${type.mount}` })
    await app.register(async (scope) => type.routes(scope, host), { prefix: `/${type.mount}/:feed` })
  }
  return {
    app,
    addFeed(type, name, options = {}) {
      const feed = createMemoryFeed({ ...options, name, type })
      feeds.set(`${type} ${name}`, feed)
      const format = types.find((candidate) => candidate.name === type)?.index
      if (format !== undefined) indexes.set(feed, createMemoryIndexes(feed, format, options.now))
      return feed
    },
    listen: () => app.listen({ host: '127.0.0.1', port: 0 }),
    [Symbol.asyncDispose]: () => app.close(),
  }
}

function getIndexes(indexes: ReadonlyMap<Feed, SignedIndexes>, feed: Feed): SignedIndexes {
  const found = indexes.get(feed)
  if (found === undefined) throw new FeedmeshError('BAD_INPUT', `feed ${feed.name} has no signed index`)
  return found
}

function createHost(
  type: FeedType,
  feeds: ReadonlyMap<string, Feed>,
  served: readonly string[],
): Omit<FeedHost, 'getIndexes'> {
  const find = (name: string) => served.map((one) => feeds.get(`${one} ${name}`)).find((feed) => feed !== undefined)
  return {
    async getFeed(request, permission) {
      const caller = getCaller(request)
      const feed = find(feedName(request))
      if (feed === undefined) throw new FeedmeshError('NOT_FOUND', `no ${type.name} feed ${feedName(request)}`)
      if (!caller.permissions.has(permission)) {
        throw new FeedmeshError('FORBIDDEN', `key ${caller.name} may not ${permission} in feed ${feed.name}`)
      }
      return feed
    },
    getCaller: async (request) => getCaller(request),
    findCaller: async (_request, key) => CALLERS[key],
    async findFeed(request, name, permission) {
      const feed = find(name)
      return getCaller(request).permissions.has(permission) ? feed : undefined
    },
    baseUrl: (request) => `${request.protocol}://${request.host}/${type.mount}/${feedName(request)}`,
  }
}

function createMountHost(type: FeedType, feeds: ReadonlyMap<string, Feed>): MountHost {
  return {
    async listReadable(request) {
      getCaller(request)
      return [...feeds.values()].filter((feed) => feed.type === type.name)
    },
    async findCaller(request, key = findKey(request)) {
      const caller = CALLERS[key ?? '']
      if (key !== undefined && caller === undefined) throw new FeedmeshError('UNAUTHENTICATED', 'an unknown API key')
      return caller
    },
    baseUrl: (request) => `${request.protocol}://${request.host}/${type.mount}`,
  }
}

function feedName(request: FastifyRequest): string {
  return (request.params as { readonly feed: string }).feed
}

function getCaller(request: FastifyRequest): Caller {
  const caller = CALLERS[findKey(request) ?? '']
  if (caller === undefined) throw new FeedmeshError('UNAUTHENTICATED', 'no API key, or an unknown one')
  return caller
}

function findKey(request: FastifyRequest): string | undefined {
  const header = request.headers['x-apikey']
  if (typeof header === 'string') return header
  const [scheme = '', credentials = ''] = (request.headers.authorization ?? '').split(' ')
  if (scheme.toLowerCase() === 'bearer') return credentials
  if (scheme.toLowerCase() !== 'basic') return undefined
  const [, ...password] = Buffer.from(credentials, 'base64').toString('utf8').split(':')
  return password.join(':')
}

/** Request headers that carry `key`. */
export function withKey(key: string, headers: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { authorization: `Bearer ${key}`, ...headers }
}
