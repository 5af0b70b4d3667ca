/** One request below `/v2/<feed>/` on its way to its handler. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import type { HotFiles } from '../hot-files.ts'
import type { Repositories } from './repository.ts'
import type { UploadSessions } from './upload-sessions.ts'

/** What all requests of the type share. */
export interface RegistryState {
  readonly host: FeedHost
  readonly repositories: Repositories
  readonly sessions: UploadSessions
  readonly hotFiles: HotFiles
}

export interface RegistryCall extends RegistryState {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** Segments of the image's name, as they were sent. */
  readonly name: readonly string[]
  /** The tag, digest or upload behind it. */
  readonly reference: string
}

export type RegistryHandler = (call: RegistryCall) => Promise<unknown>

/** Every value of a query parameter; clients append `&name=` to whatever URL they were given. */
export function listQuery(request: FastifyRequest, name: string): string[] {
  const query = (request.raw.url ?? '').split('?').slice(1).join('&')
  return new URLSearchParams(query).getAll(name)
}

/** Path of a repository of the feed: names are in an alphabet that needs no escapes. */
export function repositoryPath(feed: string, repository: string): string {
  return `/v2/${encodeURIComponent(feed)}/${repository}`
}
