/** What a feed type hands to the HTTP server, and what it may ask of it. */

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Feed } from './feed.ts'

export type Permission = 'read' | 'publish' | 'delete' | 'admin'

/** Who a request comes from, once its key has been checked. */
export interface Caller {
  /** Name of the key; `anonymous` without one. */
  readonly name: string
  readonly permissions: ReadonlySet<Permission>
}

export interface FeedHost {
  /**
   * The feed named by the route parameter `feed`, after checking that the caller of `request` may do `permission` with it.
   * Nothing of the body is read before this resolves.
   * @throws NOT_FOUND no such feed of this type; UNAUTHENTICATED no or unknown key; FORBIDDEN
   */
  getFeed(request: FastifyRequest, permission: Permission): Promise<Feed>
  /** The caller behind the request's key for the feed of the route. @throws UNAUTHENTICATED when there is none. */
  getCaller(request: FastifyRequest): Promise<Caller>
  /** Whether `key` is a valid API key for the feed of the route: for login calls that carry a key as a password. */
  findCaller(request: FastifyRequest, key: string): Promise<Caller | undefined>
  /** Absolute URL of the feed as the client addressed it, without trailing slash: `https://host:port/npm/name`. */
  baseUrl(request: FastifyRequest): string
}

export interface NativeFile {
  /** Base name of the file, or for assets its path below the imported folder with `/` between segments. */
  readonly name: string
  readonly size: number
  open(): AsyncIterable<Uint8Array>
}

export interface FeedType {
  /** The word operators use: `npm`, `assets`… */
  readonly name: string
  /** First path segment of the type's URLs; routes are mounted below `/<mount>/:feed`. */
  readonly mount: string
  /** Registers the routes in a scope of their own, with their own body parsers and error handler. */
  routes(scope: FastifyInstance, host: FeedHost): void | Promise<void>
  /** Publishes one native file of the ecosystem (`feedmesh publish`, `feedmesh import`). @throws BAD_PACKAGE, EXISTS… */
  publishFile(feed: Feed, file: NativeFile): Promise<{ readonly unit: string; readonly key: string }>
  /** The item an operator names on the command line for a row (`name@version`, path…), or undefined for rows that are not items. */
  itemName(unit: string, key: string): string | undefined
  /** Lines that set up real clients for the feed at `url`. */
  clientSetup(url: string): readonly { readonly client: string; readonly lines: readonly string[] }[]
}
