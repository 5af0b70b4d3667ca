/**
 * The OCI distribution specification 1.1. Who calls: docker, podman, buildah, skopeo, containerd, crane, oras, helm.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isFeedmeshError } from '../../../src/errors.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { HotFiles } from '../hot-files.ts'
import { acceptRawBodies } from '../request-body.ts'
import { parseRequestPath } from '../request-path.ts'
import { answerBlob, deleteBlob } from './blob-routes.ts'
import type { RegistryHandler } from './call.ts'
import { renderChallenge } from './challenge.ts'
import { answerTags, createReferrersRoute } from './discovery-routes.ts'
import { answerManifest, putManifest, removeManifest } from './manifest-routes.ts'
import { RegistryError, sendRegistryError } from './registry-error.ts'
import { Repositories } from './repository.ts'
import { answerUploadStatus, appendToUpload, beginUpload, cancelUpload, finishUpload } from './upload-routes.ts'
import { UploadSessions } from './upload-sessions.ts'

type Route = 'manifests' | 'blobs' | 'uploads' | 'upload' | 'tags' | 'referrers'

interface RegistryPath {
  readonly route: Route
  readonly name: readonly string[]
  readonly reference: string
}

const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'] as const

export function registerDockerRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  const sessions = new UploadSessions()
  scope.addHook('onClose', () => sessions[Symbol.asyncDispose]())
  scope.addHook('onRequest', async (_request, reply) => {
    reply.header('docker-distribution-api-version', 'registry/2.0')
  })
  scope.setErrorHandler((error, request, reply) =>
    sendRegistryError(error, { request, reply, challenge: challengeFor(host, request) }),
  )
  const handlers = createHandlers()
  const state = { host, sessions, repositories: new Repositories(), hotFiles: new HotFiles() }
  const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const path = findPath(parseRequestPath(request))
    const handler = path === undefined ? undefined : handlers[`${request.method} ${path.route}`]
    if (path !== undefined && handler !== undefined) return await handler({ ...state, ...path, request, reply })
    await host.getFeed(request, 'read')
    throw new RegistryError('UNSUPPORTED', `${request.method} is not answered at this path of a docker feed`)
  }
  for (const url of ['/', '/*']) scope.route({ method: [...METHODS], url, handler: handle })
}

function createHandlers(): Readonly<Partial<Record<string, RegistryHandler>>> {
  return {
    'GET manifests': answerManifest,
    'HEAD manifests': answerManifest,
    'PUT manifests': putManifest,
    'DELETE manifests': removeManifest,
    'GET blobs': answerBlob,
    'HEAD blobs': answerBlob,
    'DELETE blobs': deleteBlob,
    'POST uploads': beginUpload,
    'GET upload': answerUploadStatus,
    'HEAD upload': answerUploadStatus,
    'PATCH upload': appendToUpload,
    'PUT upload': finishUpload,
    'DELETE upload': cancelUpload,
    'GET tags': answerTags,
    'HEAD tags': answerTags,
    'GET referrers': createReferrersRoute(),
  }
}

/** Names have slashes, so a path is read from its end. */
function findPath(segments: readonly string[]): RegistryPath | undefined {
  const path = segments.at(-1) === '' ? segments.slice(0, -1) : segments
  const [first = '', second = '', third = ''] = path.slice(-3)
  const before = path.length < 3 ? undefined : { three: path.slice(0, -3), two: path.slice(0, -2) }
  if (second === 'blobs' && third === 'uploads') return { route: 'uploads', name: path.slice(0, -2), reference: '' }
  if (first === 'blobs' && second === 'uploads' && before !== undefined)
    return { route: 'upload', name: before.three, reference: third }
  return findPair(path)
}

function findPair(path: readonly string[]): RegistryPath | undefined {
  const [area = '', reference = ''] = path.slice(-2)
  const name = path.slice(0, -2)
  if (area === 'tags') return reference === 'list' ? { route: 'tags', name, reference } : undefined
  if (area === 'manifests' || area === 'blobs' || area === 'referrers') return { route: area, name, reference }
  return undefined
}

/** What the client has to be allowed to, for the challenge. */
function challengeFor(host: FeedHost, request: FastifyRequest): string {
  try {
    const url = host.baseUrl(request)
    const { feed } = request.params as { readonly feed: string }
    const name = findPath(parseRequestPath(request))?.name.join('/') ?? ''
    const actions = { GET: 'pull', HEAD: 'pull', DELETE: 'delete,pull' }[request.method] ?? 'pull,push'
    const isPlain = /^[a-z0-9/._-]*$/i.test(`${feed}/${name}`)
    return renderChallenge(
      url.slice(0, url.lastIndexOf('/')),
      isPlain ? `repository:${feed}/${name}:${actions}` : undefined,
    )
  } catch (error) {
    // A request that names no host or no path can only be told how in general.
    if (isFeedmeshError(error, 'BAD_INPUT')) return 'Basic realm="docker feed"'
    throw error
  }
}
