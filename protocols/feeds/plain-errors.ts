/** Errors as one line of plain text: it is what curl, apt and dput show; dnf and zypper show the status. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { asRequestError } from './request-error.ts'

export function sendPlainError(
  error: unknown,
  { request, reply, type }: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly type: string },
): FastifyReply {
  const failure = asRequestError(error)
  if (failure.code === 'INTERNAL') request.log.error({ err: error }, `${type} request failed`)
  if (failure.code === 'UNAUTHENTICATED')
    reply.header('www-authenticate', `Basic realm="${type} feed", charset="UTF-8"`)
  return reply
    .code(failure.httpStatus)
    .headers({ 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' })
    .send(`${failure.message}\n`)
}
