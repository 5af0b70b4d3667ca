/** What is asked of the registry as a whole: whether it is one, tokens, and the catalog. */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import { ANONYMOUS_TOKEN, type MountHost } from '../../../src/feeds/feed-type.ts'
import { GrowingBuffer } from '../growing-buffer.ts'
import { acceptRawBodies, readBody } from '../request-body.ts'
import { renderChallenge } from './challenge.ts'
import { linkNext, parsePage } from './discovery-routes.ts'
import { sendJson, sendRegistryError } from './registry-error.ts'

const MAX_FORM_BYTES = 16 * 1024
/** Clients ask again after this; the token itself ends with the key. */
const EXPIRES_IN_SECONDS = 3600
const MAX_CATALOG = 1000

export function registerMountRoutes(scope: FastifyInstance, host: MountHost): void {
  acceptRawBodies(scope)
  scope.addHook('onRequest', async (_request, reply) => {
    reply.header('docker-distribution-api-version', 'registry/2.0')
  })
  scope.setErrorHandler((error, request, reply) =>
    sendRegistryError(error, { request, reply, challenge: renderChallenge(host.baseUrl(request)) }),
  )
  scope.get('/', (request, reply) => answerCheck(host, request, reply))
  scope.get('/_catalog', (request, reply) => answerCatalog(host, request, reply))
  scope.get('/token', (request, reply) => answerToken(host, request, reply))
  scope.post('/token', async (request, reply) => answerTokenForm(host, request, reply))
}

/** end-1. Clients learn here that tokens are wanted, so nobody passes without one. @throws UNAUTHENTICATED */
async function answerCheck(host: MountHost, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const isAnonymous = request.headers.authorization === `Bearer ${ANONYMOUS_TOKEN}`
  if (!isAnonymous && (await host.findCaller(request)) === undefined)
    throw new FeedmeshError('UNAUTHENTICATED', 'log in with an API key as the password; the user name is api')
  return sendJson(reply, {})
}

/**
 * https://distribution.github.io/distribution/spec/auth/token/. The token is the API key itself: what it may do is checked
 * with every request, it ends in the moment its key is revoked, and an upload that takes hours or outlives a restart of the
 * node goes on with it. So `scope` needs no reading.
 */
async function answerToken(host: MountHost, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const caller = await host.findCaller(request)
  return sendToken(reply, caller === undefined ? ANONYMOUS_TOKEN : readPassword(request))
}

/** https://distribution.github.io/distribution/spec/auth/oauth/: `password`, or a key as `refresh_token`. */
async function answerTokenForm(host: MountHost, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const body = new GrowingBuffer()
  for await (const chunk of readBody(request, { maxBytes: MAX_FORM_BYTES })) body.append(chunk)
  const form = new URLSearchParams(body.bytes().toString('utf8'))
  const grant = form.get('grant_type')
  const key = form.get(grant === 'refresh_token' ? 'refresh_token' : 'password')
  if ((grant !== 'password' && grant !== 'refresh_token') || key === null || key === '')
    throw new FeedmeshError('BAD_INPUT', 'grant_type has to be password or refresh_token, with an API key as its value')
  await host.findCaller(request, key)
  return sendToken(reply, key)
}

/** The key that the caller was found by. */
function readPassword(request: FastifyRequest): string {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +(.*)$/.exec(request.headers.authorization ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') return credentials
  const decoded = Buffer.from(credentials, 'base64').toString('utf8')
  if (scheme.toLowerCase() === 'basic') return decoded.slice(decoded.indexOf(':') + 1)
  throw new FeedmeshError('BAD_INPUT', 'send the API key as the password of Basic authentication')
}

function sendToken(reply: FastifyReply, token: string): FastifyReply {
  const issuedAt = new Date().toISOString()
  return sendJson(reply, { token, access_token: token, expires_in: EXPIRES_IN_SECONDS, issued_at: issuedAt })
}

/** Not in the specification, but asked for by crane and oras: `FEED/IMAGE` of every feed that may be read. */
async function answerCatalog(host: MountHost, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const feeds = await host.listReadable(request)
  if (feeds.length === 0 && (await host.findCaller(request)) === undefined)
    throw new FeedmeshError('UNAUTHENTICATED', 'nothing can be listed without an API key')
  const { limit = MAX_CATALOG, last } = parsePage(request)
  const wanted = Math.min(limit, MAX_CATALOG)
  const repositories: string[] = []
  for await (const name of listRepositories(feeds, last, wanted + 1)) repositories.push(name)
  const page = repositories.slice(0, wanted)
  const lastSent = page.at(-1)
  if (lastSent !== undefined && repositories.length > wanted)
    linkNext(reply, '/v2/_catalog', { limit: wanted, last: lastSent })
  return sendJson(reply, { repositories: page })
}

/** In byte order of the whole names, which is not that of the feeds' names alone: `a-b/x` comes before `a/x`. */
async function* listRepositories(
  feeds: readonly Feed[],
  last: string | undefined,
  limit: number,
): AsyncGenerator<string> {
  let left = limit
  for (const feed of [...feeds].sort((a, b) => (`${a.name}/` < `${b.name}/` ? -1 : 1))) {
    const prefix = `${feed.name}/`
    if (last !== undefined && prefix < last && !last.startsWith(prefix)) continue
    const after = last?.startsWith(prefix) === true ? { after: last.slice(prefix.length) } : {}
    if (left <= 0) return
    for await (const { unit } of feed.list({ ...after, limit: left })) {
      left -= 1
      yield `${prefix}${unit}`
    }
  }
}
