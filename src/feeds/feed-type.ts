/** What a feed type hands to the HTTP server, and what it may ask of it. */

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Feed } from './feed.ts'
import type { SignedIndexes, SignedIndexFormat } from './signed-index.ts'

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
  /** Another feed of this type, when the caller of `request` may do `permission` with it; undefined also when there is none. */
  findFeed(request: FastifyRequest, name: string, permission: Permission): Promise<Feed | undefined>
  /** The signed indexes that clients of `feed` see. For types that have an `index`. */
  getIndexes(feed: Feed): SignedIndexes
  /** Absolute URL of the feed as the client addressed it, without trailing slash: `https://host:port/npm/name`. */
  baseUrl(request: FastifyRequest): string
}

/** For the few calls of an ecosystem that name no feed. */
export interface MountHost {
  /** Feeds of this type that the caller of `request` may read. @throws UNAUTHENTICATED with a key that is unknown */
  listReadable(request: FastifyRequest): Promise<readonly Feed[]>
  /** Who holds `key`, else the keys of the request; undefined without any. @throws UNAUTHENTICATED with a key that is unknown */
  findCaller(request: FastifyRequest, key?: string): Promise<Caller | undefined>
  /** Absolute URL of the mount as the client addressed it, without trailing slash: `https://host:port/v2`. */
  baseUrl(request: FastifyRequest): string
}

/** As a bearer token: the client has no key and knows it. For protocols in which everybody has to have a token. */
export const ANONYMOUS_TOKEN = 'anonymous'

export interface NativeFile {
  /** Base name of the file, or for assets its path below the imported folder with `/` between segments. */
  readonly name: string
  readonly size: number
  open(): AsyncIterable<Uint8Array>
}

export interface FeedType {
  /** The word operators use: `npm`, `assets`… */
  readonly name: string
  /**
   * First path segment of the type's URLs; routes are mounted below `/<mount>/:feed`. Of types with one mount, the routes of
   * the first serve the feeds of all.
   */
  readonly mount: string
  /** Registers the routes in a scope of their own, with their own body parsers and error handler. */
  routes(scope: FastifyInstance, host: FeedHost): void | Promise<void>
  /** Registers what is below `/<mount>` and no feed's; also in a scope of its own. */
  mountRoutes?(scope: FastifyInstance, host: MountHost): void | Promise<void>
  /** Signed lists of all packages, for types whose clients trust a repository by its signature. */
  readonly index?: SignedIndexFormat
  /** Packages may carry a signature of their publisher; a feed may refuse those that do not: `Feed.unsigned`. */
  readonly hasPackageSignatures?: true
  /** Publishes one native file of the ecosystem (`feedmesh publish`, `feedmesh import`). @throws BAD_PACKAGE, EXISTS… */
  publishFile(feed: Feed, file: NativeFile): Promise<{ readonly unit: string; readonly key: string }>
  /** The item an operator names on the command line for a row (`name@version`, path…), or undefined for rows that are not items. */
  itemName(unit: string, key: string): string | undefined
  /** Lines that set up real clients for the feed at `url`. */
  clientSetup(url: string): readonly { readonly client: string; readonly lines: readonly string[] }[]
}
