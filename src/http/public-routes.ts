/** What needs no key: how to find the node, whether it is well, and a page that says what it is. */

import { isIP } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { getCaller, verifyPermission } from './authentication.ts'
import { HOME_HEADERS, renderHomePage } from './home-page.ts'
import { collectMetrics } from './node-metrics.ts'
import { OPEN_METRICS_TYPE, renderOpenMetrics } from './open-metrics.ts'
import type { NodeOperations } from './operations.ts'
import type { AnswerCounts } from './request-log.ts'
import { requestHostName, requestOrigin } from './request-origin.ts'

export interface PublicRoutesOptions {
  readonly operations: NodeOperations
  readonly counts: AnswerCounts
}

/** Problems with which a node cannot do its work; the others are a matter of one feed or peer. */
export const UNFIT: Readonly<Record<string, string>> = {
  IDENTITY_DUPLICATED: 'Two live nodes use one identity.',
  CLOCK_WRONG: 'The clock is too far off to sign.',
  STORAGE_FULL: 'The disk is full.',
}

export function registerPublicRoutes(app: FastifyInstance, { operations, counts }: PublicRoutesOptions): void {
  app.get('/.well-known/feedmesh', async (request, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'access-control-allow-origin': '*' })
    return operations.wellKnown(requestHostName(request))
  })
  app.get('/health', async (request, reply) => {
    const reasons = await findReasons(request, operations)
    reply.code(reasons.length === 0 ? 200 : 503).header('cache-control', 'no-store')
    return { status: reasons.length === 0 ? 'ok' : 'unfit', reasons }
  })
  app.get('/metrics', async (request, reply) => {
    if (!isDirectFromLoopback(request)) {
      const caller = await getCaller(operations, request, { feed: null, permission: 'admin' })
      verifyPermission(caller, 'admin', 'this node')
    }
    reply.headers({ 'content-type': OPEN_METRICS_TYPE, 'cache-control': 'no-store' })
    return renderOpenMetrics(await collectMetrics(operations, counts))
  })
  app.get('/', async (request, reply) => {
    const { peerId, version } = operations.wellKnown(requestHostName(request))
    reply.headers(HOME_HEADERS)
    return renderHomePage({ peerId, version, origin: requestOrigin(request) })
  })
}

/** The code and what it means; the message of a problem may name paths and peers, so it is left to `doctor`. */
async function findReasons(
  request: FastifyRequest,
  operations: NodeOperations,
): Promise<{ readonly code: string; readonly meaning: string }[]> {
  try {
    const codes = new Set(
      (await operations.doctor()).map(({ code }) => code).filter((code) => Object.hasOwn(UNFIT, code)),
    )
    return [...codes].map((code) => ({ code, meaning: UNFIT[code] ?? '' }))
  } catch (error) {
    request.log.error({ err: error }, 'the health check failed')
    return [{ code: 'INTERNAL', meaning: 'The node cannot tell how it is; its log has the details.' }]
  }
}

/**
 * A monitor on the same machine. A reverse proxy on the same machine is none, and neither is a browser that was sent to a
 * name which points here.
 */
function isDirectFromLoopback(request: FastifyRequest): boolean {
  const { remoteAddress = '' } = request.raw.socket
  const isForwarded = ['x-forwarded-for', 'x-forwarded-host', 'forwarded', 'via'].some(
    (name) => name in request.headers,
  )
  const host = requestHostName(request)
  const isLoopbackHost = host === 'localhost' || (isIP(host) !== 0 && isLoopback(host))
  return isLoopback(remoteAddress) && isLoopbackHost && !isForwarded
}

function isLoopback(address: string): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address)
}
