/** The node's HTTP server: feeds below `/<mount>/<feed>`, administration below `/api`, and a few public pages. */

import fastify, { type FastifyInstance, LogController } from 'fastify'
import { type Config, parseHostPort } from '../config.ts'
import { FeedmeshError } from '../errors.ts'
import type { FeedType } from '../feeds/feed-type.ts'
import type { Log } from '../log.ts'
import { registerAdminApi } from './admin/admin-api.ts'
import { decorateRequests } from './authentication.ts'
import { answerClientError, sendError, sendNotFound } from './error-reply.ts'
import { ContinueWhenRead } from './expect-continue.ts'
import { createFeedHost, createMountHost } from './feed-host.ts'
import { createListener, LISTENER_LIMITS, type ListenerLimits, type ListenerOptions, readTlsFiles } from './listener.ts'
import type { NodeOperations } from './operations.ts'
import { registerPublicRoutes } from './public-routes.ts'
import { type AnswerCounts, adaptLog, logRequests } from './request-log.ts'
import { SLOW_CLIENT_LIMITS, type SlowClientLimits, SlowClientWatch } from './slow-clients.ts'

export interface HttpServerOptions {
  readonly operations: NodeOperations
  readonly config: Config
  readonly log: Log
  readonly limits?: Partial<HttpLimits>
}

export interface HttpLimits extends ListenerLimits {
  readonly slowClients: SlowClientLimits
  /** Body of an administration call; files that are published have their feed's own limit. */
  readonly maxAdminBodyBytes: number
  /** How long running requests may go on once the server stops. */
  readonly drainMs: number
}

const HTTP_LIMITS: HttpLimits = {
  ...LISTENER_LIMITS,
  slowClients: SLOW_CLIENT_LIMITS,
  maxAdminBodyBytes: 256 * 1024,
  drainMs: 5_000,
}

export interface HttpServer extends AsyncDisposable {
  /** Base URL at which this machine reaches the server. */
  readonly url: string
  readonly app: FastifyInstance
}

/** @throws BAD_INPUT when the address, the certificate or the proxy range cannot be used; FORBIDDEN for a low port */
export async function openHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const limits = { ...HTTP_LIMITS, ...options.limits }
  const tls = await readTlsFiles(options.config)
  const stopping = new AbortController()
  await using stack = new AsyncDisposableStack()
  const continues = new ContinueWhenRead()
  const watch = stack.use(new SlowClientWatch(limits.slowClients, continues))
  const app = createApp(options, limits.maxAdminBodyBytes, { tls, limits, continues })
  stack.defer(() => stop(app, stopping, limits.drainMs))
  app.addHook('onRequest', (request, reply, done) => {
    watch.add(request.raw, reply.raw)
    done()
  })
  const counts: AnswerCounts = new Map()
  logRequests(app, options.log, counts)
  const { operations } = options
  registerPublicRoutes(app, { operations, counts })
  await registerAdminApi(app, { operations, log: options.log, stopping: stopping.signal })
  for (const type of operations.feedTypes) await mountFeedType(app, type, operations)
  const url = await listen(app, options.config)
  const opened = stack.move()
  return { url, app, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

function createApp({ config, log }: HttpServerOptions, bodyLimit: number, listener: ListenerOptions): FastifyInstance {
  let app: FastifyInstance
  try {
    app = fastify({
      serverFactory: (handler) => createListener(handler, listener),
      loggerInstance: adaptLog(log),
      logController: new LogController({ disableRequestLogging: true }),
      // Nothing of a request is logged but its one line: a logger of its own would only cost time.
      childLoggerFactory: (logger) => logger,
      routerOptions: { maxParamLength: 1024 },
      bodyLimit,
      trustProxy: config.trustProxy ?? false,
      requestIdHeader: false,
      clientErrorHandler: answerClientError,
      frameworkErrors: (error, request, reply) => void sendError(error, request, reply),
    })
  } catch (cause) {
    if (cause instanceof FeedmeshError || !/address/i.test((cause as Error).message)) throw cause
    throw new FeedmeshError('BAD_INPUT', `--trust-proxy ${config.trustProxy} is not a CIDR such as 10.0.0.0/8`, {
      cause,
    })
  }
  decorateRequests(app)
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler((request, reply) => sendNotFound(request, reply))
  return app
}

/** In a scope of its own: its parsers, hooks and errors are nobody else's. */
async function mountFeedType(app: FastifyInstance, type: FeedType, operations: NodeOperations): Promise<void> {
  if (type.mountRoutes !== undefined) {
    const mountHost = createMountHost(type, operations)
    await app.register(async (scope) => type.mountRoutes?.(scope, mountHost), { prefix: `/${type.mount}` })
  }
  const sharing = operations.feedTypes.filter(({ mount }) => mount === type.mount)
  if (sharing[0] !== type) return
  const served = sharing.map(({ name }) => name)
  const host = createFeedHost(type, operations, served)
  await app.register(async (scope) => type.routes(scope, host), { prefix: `/${type.mount}/:feed` })
}

async function listen(app: FastifyInstance, config: Config): Promise<string> {
  const wanted = parseHostPort(config.http)
  if (wanted === undefined) throw new FeedmeshError('BAD_INPUT', `--http ${config.http} is not HOST:PORT`)
  try {
    await app.listen({ host: wanted.host, port: wanted.port })
  } catch (cause) {
    throw describeListenError(cause as NodeJS.ErrnoException, config.http)
  }
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : wanted.port
  const host = WILDCARDS[wanted.host] ?? wanted.host
  return `${config.tlsCert === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

const WILDCARDS: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

function describeListenError(cause: NodeJS.ErrnoException, http: string): unknown {
  if (cause.code === 'EADDRINUSE') {
    const message = `${http} is in use by another program; choose another address: feedmesh start --http 127.0.0.1:0`
    return new FeedmeshError('BAD_INPUT', message, { cause })
  }
  if (cause.code === 'EACCES') {
    const message = `${http}: this user may not listen there; choose a port over 1023: feedmesh start --http HOST:PORT`
    return new FeedmeshError('FORBIDDEN', message, { cause })
  }
  if (cause.code === 'EADDRNOTAVAIL' || cause.code === 'ENOTFOUND' || cause.code === 'EAI_AGAIN') {
    const message = `${http} is not an address of this machine; choose one: feedmesh start --http 127.0.0.1:8624`
    return new FeedmeshError('BAD_INPUT', message, { cause })
  }
  return cause
}

/** Running requests may finish; what still runs after `drainMs` is cut off. */
async function stop(app: FastifyInstance, stopping: AbortController, drainMs: number): Promise<void> {
  stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
  const timer = setTimeout(() => app.server.closeAllConnections(), drainMs)
  try {
    await app.close()
  } finally {
    clearTimeout(timer)
  }
}
