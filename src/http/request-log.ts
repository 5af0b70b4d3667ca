/** One line a request, with who and from where, and without secrets. */

import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../log.ts'
import { redactUrl } from '../log.ts'

/** Asked every few seconds by machines. */
const QUIET = new Set(['/health', '/metrics', '/.well-known/feedmesh'])

/** Answers so far by their class (`2xx`), for the metrics. */
export type AnswerCounts = Map<string, number>

export function logRequests(app: FastifyInstance, log: Log, counts: AnswerCounts): void {
  // Nothing that `describe` says is a secret, and looking for one costs as much as the line.
  const lines = log.child({}, { redact: [] })
  app.addHook('onResponse', (request, reply, done) => {
    const kind = `${Math.floor(reply.statusCode / 100)}xx`
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    const line = describe(request, reply)
    if (QUIET.has(request.routeOptions.url ?? '')) lines.debug(line, 'request')
    else lines.info(line, 'request')
    done()
  })
  app.addHook('onRequestAbort', async (request) => {
    log.info({ method: request.method, url: redactUrl(request.url), from: request.ip }, 'the client left')
  })
}

/** The node's log as Fastify asks for one. */
export function adaptLog(log: Log): FastifyBaseLogger {
  return {
    level: 'info',
    fatal: log.error.bind(log),
    error: log.error.bind(log),
    warn: log.warn.bind(log),
    info: log.info.bind(log),
    debug: log.debug.bind(log),
    trace: log.debug.bind(log),
    silent: () => undefined,
    child: (bindings, options) => log.child(bindings, options),
  }
}

function describe(request: FastifyRequest, reply: FastifyReply) {
  return {
    method: request.method,
    url: redactUrl(request.url),
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
    caller: request.callerName,
    from: request.ip,
  }
}
