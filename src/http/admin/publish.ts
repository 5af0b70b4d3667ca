/** `POST /api/feeds/:name/publish`: one native file of the feed's ecosystem as the raw body. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { FeedmeshError } from '../../errors.ts'
import type { NativeFile } from '../../feeds/feed-type.ts'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, errors, feedName } from './schemas.ts'

const schema = {
  tags: ['feeds'],
  operationId: 'publishFile',
  summary:
    'Publish one file; the body is its bytes, with Content-Length. A key of the feed that may publish is enough.',
  params: Type.Object({ name: feedName }),
  querystring: Type.Object(
    { name: Type.String({ minLength: 1, maxLength: 1024, description: 'File name; for assets the path' }) },
    closed,
  ),
  response: {
    201: Type.Object(
      {
        unit: Type.String(),
        key: Type.String(),
        item: Type.String({ description: 'The name by which commands know it' }),
      },
      closed,
    ),
    ...errors,
  },
} as const

export function registerPublishRoute(scope: AdminScope, { operations }: AdminContext): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  scope.post('/feeds/:name/publish', { schema, config: { feedPermission: 'publish' } }, async (request, reply) => {
    const { name } = request.params
    const feed = operations.openFeed(name)
    const size = parseSize(request, feed.maxFileBytes)
    const file: NativeFile = { name: request.query.name, size, open: () => readUpload(request) }
    const published = await operations.publishFile(name, file, actorOf(request))
    const type = operations.feedTypes.find((candidate) => candidate.name === feed.type)
    const item = type?.itemName(published.unit, published.key) ?? published.unit
    return reply.code(201).send({ ...published, item })
  })
}

/** @throws BAD_INPUT, TOO_LARGE */
function parseSize(request: FastifyRequest, maxBytes: number): number {
  const header = request.headers['content-length'] ?? ''
  if (!/^\d{1,15}$/.test(header))
    throw new FeedmeshError('BAD_INPUT', 'send the size of the file as Content-Length (curl --data-binary @FILE does)')
  const size = Number(header)
  if (size > maxBytes)
    throw new FeedmeshError('TOO_LARGE', `the file has ${size} bytes, the feed takes files up to ${maxBytes}`)
  return size
}

/** Content-Length bounds it, and SlowClientWatch its time. The request outlives a refusal, so that the answer arrives. */
async function* readUpload({ raw }: FastifyRequest): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of raw.iterator({ destroyOnReturn: false })) yield chunk as Uint8Array
  } catch (cause) {
    throw new FeedmeshError('ABORTED', 'the client left before the file was complete', { cause })
  }
}
