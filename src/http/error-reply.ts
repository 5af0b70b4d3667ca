/** One shape for every error that is not in a package client's own dialect: `{"error":{"code","message"}}`. */

import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import { redactUrl } from '../log.ts'

export interface ErrorDocument {
  readonly error: { readonly code: string; readonly message: string }
}

export function renderError({ code, message }: FeedmeshError): ErrorDocument {
  return { error: { code, message } }
}

/** Fastify's own refusals are the client's mistakes; whatever else is not ours becomes INTERNAL and tells nothing. */
export function asHttpError(thrown: unknown): FeedmeshError {
  if (thrown instanceof FeedmeshError || !(thrown instanceof Error)) return asFeedmeshError(thrown)
  const { statusCode, validation } = thrown as Partial<FastifyError>
  if (validation !== undefined) return describeValidation(thrown as FastifyError)
  if (statusCode === 413) return new FeedmeshError('TOO_LARGE', 'the request body is larger than this call takes')
  if (statusCode !== undefined && statusCode >= 400 && statusCode <= 499)
    return new FeedmeshError('BAD_INPUT', thrown.message)
  return statusCode === 503 ? new FeedmeshError('ABORTED', 'the node is stopping; try again') : asFeedmeshError(thrown)
}

function describeValidation({ validation = [], validationContext = 'body' }: FastifyError): FeedmeshError {
  const found = validation.find(({ keyword }) => keyword === 'additionalProperties') ?? validation[0]
  const where = `${validationContext}${(found?.instancePath ?? '').replaceAll('/', '.')}`
  const unknown = found?.params['additionalProperties']
  const allowed = found?.params['allowedValues']
  if (Array.isArray(unknown)) return badInput(`${where} has the unknown field ${listed(unknown)}`)
  if (Array.isArray(allowed)) return badInput(`${where} must be one of ${listed(allowed)}`)
  return badInput(`${where} ${found?.message ?? 'is not valid'}`)
}

function listed(values: readonly unknown[]): string {
  return values.map((value) => JSON.stringify(value).slice(0, 80)).join(', ')
}

function badInput(what: string): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', `${what}; /api/openapi.json describes every call`)
}

export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const error = asHttpError(thrown)
  if (error.httpStatus === 500) request.log.error({ err: thrown, url: redactUrl(request.url) }, 'request failed')
  if (error.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer realm="feedmesh"')
  if (error.code === 'BUSY') reply.header('retry-after', '5')
  return reply.code(error.httpStatus).headers(ERROR_HEADERS).serializer(JSON.stringify).send(renderError(error))
}

const ERROR_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
}

export function sendNotFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const [path = '/'] = redactUrl(request.url).split('?', 1)
  const message = `nothing answers ${request.method} ${path.slice(0, 200)}; the API is described at /api/openapi.json, feeds are at /TYPE/NAME/`
  return sendError(new FeedmeshError('NOT_FOUND', message), request, reply)
}

const CLIENT_ERRORS: Readonly<Record<string, readonly [string, ErrorDocument['error']]>> = {
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    { code: 'TOO_LARGE', message: 'the request headers are too large' },
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [
    '408 Request Timeout',
    { code: 'TIMEOUT', message: 'the request headers did not arrive in time' },
  ],
}
const BAD_REQUEST = ['400 Bad Request', { code: 'BAD_INPUT', message: 'this is not an HTTP request' }] as const

/** Answers what could not be parsed as a request, and closes. */
export function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const [status, document] = CLIENT_ERRORS[error.code ?? ''] ?? BAD_REQUEST
  const body = JSON.stringify({ error: document })
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
}
