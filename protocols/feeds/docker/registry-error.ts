/** Errors in the words of the distribution specification. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, FeedmeshError } from '../../../src/errors.ts'
import { asRequestError } from '../request-error.ts'

const REGISTRY_CODES = {
  BLOB_UNKNOWN: 'NOT_FOUND',
  BLOB_UPLOAD_INVALID: 'BAD_INPUT',
  BLOB_UPLOAD_UNKNOWN: 'NOT_FOUND',
  DIGEST_INVALID: 'BAD_INPUT',
  MANIFEST_BLOB_UNKNOWN: 'BAD_INPUT',
  MANIFEST_INVALID: 'BAD_INPUT',
  MANIFEST_UNKNOWN: 'NOT_FOUND',
  NAME_INVALID: 'BAD_INPUT',
  NAME_UNKNOWN: 'NOT_FOUND',
  PAGINATION_NUMBER_INVALID: 'BAD_INPUT',
  RANGE_INVALID: 'RANGE',
  SIZE_INVALID: 'BAD_INPUT',
  TAG_INVALID: 'BAD_INPUT',
  UNSUPPORTED: 'BAD_INPUT',
} as const satisfies Record<string, ErrorCode>

export type RegistryCode = keyof typeof REGISTRY_CODES

/** A refusal whose code in the client's dialect does not follow from our own. */
export class RegistryError extends FeedmeshError {
  readonly registryCode: RegistryCode

  constructor(registryCode: RegistryCode, message: string, options?: { readonly cause?: unknown }) {
    super(REGISTRY_CODES[registryCode], message, options)
    this.registryCode = registryCode
  }
}

/** What our other codes are called by registries; clients print the code with the message. */
const DIALECT: Partial<Readonly<Record<ErrorCode, string>>> = {
  UNAUTHENTICATED: 'UNAUTHORIZED',
  FORBIDDEN: 'DENIED',
  NOT_FOUND: 'NAME_UNKNOWN',
  TOO_LARGE: 'SIZE_INVALID',
  BUSY: 'TOOMANYREQUESTS',
  RANGE: 'RANGE_INVALID',
  BAD_INPUT: 'UNSUPPORTED',
  BAD_PACKAGE: 'MANIFEST_INVALID',
  EXISTS: 'DENIED',
  CONFLICT: 'DENIED',
}

/** A Buffer, because Fastify would add a charset to the type of an object. */
export function sendJson(reply: FastifyReply, value: unknown, contentType = 'application/json'): FastifyReply {
  const body = Buffer.from(JSON.stringify(value))
  reply.headers({ 'content-type': contentType, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  return reply.request.method === 'HEAD' ? reply.header('content-length', body.length).send() : reply.send(body)
}

/** `challenge` is what a client without a key is told. */
export function sendRegistryError(
  error: unknown,
  { request, reply, challenge }: { request: FastifyRequest; reply: FastifyReply; challenge: string },
): FastifyReply {
  const failure = asRequestError(error)
  if (failure.httpStatus === 500) request.log.error({ err: error }, 'docker request failed')
  if (failure.code === 'UNAUTHENTICATED') reply.header('www-authenticate', challenge)
  if (failure.code === 'BUSY') reply.header('retry-after', '5')
  const code = failure instanceof RegistryError ? failure.registryCode : (DIALECT[failure.code] ?? 'UNKNOWN')
  return sendJson(reply.code(failure.httpStatus), { errors: [{ code, message: failure.message, detail: null }] })
}
