/** `/api`: everything an operator can do. The schemas that validate the calls also make `/api/openapi.json`. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify'
import { FeedmeshError } from '../../errors.ts'
import type { Permission } from '../../feeds/feed-type.ts'
import type { Log } from '../../log.ts'
import { VERSION } from '../../version.ts'
import { getCaller, verifyPermission } from '../authentication.ts'
import type { Actor, NodeOperations } from '../operations.ts'
import { registerFeedIndexRoutes } from './feed-index.ts'
import { registerFeedPastRoutes } from './feed-past.ts'
import { registerFeedRoutes } from './feeds.ts'
import { registerJoinRoutes } from './joins.ts'
import { registerKeyRoutes } from './keys.ts'
import { registerMaintenanceRoutes } from './maintenance.ts'
import { registerPeerRoutes } from './peers.ts'
import { registerPublishRoute } from './publish.ts'
import { registerReplicationRoutes } from './replications.ts'
import { registerRunRoutes } from './runs.ts'
import { registerStatusRoutes } from './status.ts'
import { registerTokenRoutes } from './tokens.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call a route of the administration: with a key of the feed `:name` that has the permission, or (default) an administrator. */
    feedPermission?: Permission
    isOpenToAll?: boolean
  }
}

export type AdminScope = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

export interface AdminContext {
  readonly operations: NodeOperations
  readonly log: Log
  /** Aborts when the server stops. */
  readonly stopping: AbortSignal
}

const ROUTES: readonly ((scope: AdminScope, context: AdminContext) => void)[] = [
  registerStatusRoutes,
  registerFeedRoutes,
  registerFeedPastRoutes,
  registerFeedIndexRoutes,
  registerPublishRoute,
  registerReplicationRoutes,
  registerRunRoutes,
  registerJoinRoutes,
  registerTokenRoutes,
  registerPeerRoutes,
  registerKeyRoutes,
  registerMaintenanceRoutes,
]

export async function registerAdminApi(app: FastifyInstance, context: AdminContext): Promise<void> {
  await app.register(
    async (plain) => {
      await plain.register(swagger, { openapi: describeApi() })
      const scope: AdminScope = plain.withTypeProvider<TypeBoxTypeProvider>()
      scope.setValidatorCompiler(TypeBoxValidatorCompiler)
      // Answers go out whole: a schema that lags behind must not drop fields.
      scope.setSerializerCompiler(() => (document) => JSON.stringify(document))
      scope.addHook('onRequest', async (request, reply) => {
        reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
        await verifyAccess(request, context.operations)
      })
      for (const register of ROUTES) await scope.register(async (own) => register(own, context))
      scope.get('/openapi.json', { schema: { hide: true }, config: { isOpenToAll: true } }, async () => scope.swagger())
    },
    { prefix: '/api' },
  )
}

/** Runs before the body is read. @throws UNAUTHENTICATED, FORBIDDEN */
async function verifyAccess(request: FastifyRequest, operations: NodeOperations): Promise<void> {
  const { feedPermission, isOpenToAll } = request.routeOptions.config
  if (isOpenToAll === true) return
  // A browser that knows the key of a feed would send it along with another site's form.
  if (request.method !== 'GET' && request.headers['sec-fetch-site'] === 'cross-site')
    throw new FeedmeshError('FORBIDDEN', 'calls from pages of other sites are refused')
  if (feedPermission === undefined) {
    const caller = await getCaller(operations, request, { feed: null, permission: 'admin' })
    verifyPermission(caller, 'admin', 'this node; use a key made with feedmesh key create --can admin')
    return
  }
  const { name } = request.params as { readonly name: string }
  const caller = await getCaller(operations, request, { feed: name, permission: feedPermission })
  verifyPermission(caller, feedPermission, `in feed ${name.slice(0, 80)}`)
}

/** Who asks, for the audit log. */
export function actorOf(request: FastifyRequest): Actor {
  return { name: request.callerName, from: request.ip }
}

function describeApi() {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Feedmesh node',
      version: VERSION,
      description:
        'Administration of one node. Feeds themselves answer at /TYPE/NAME/ in the protocol of their clients.',
    },
    components: {
      securitySchemes: {
        bearer: { type: 'http' as const, scheme: 'bearer', description: 'API key' },
        basic: { type: 'http' as const, scheme: 'basic', description: 'API key as password, any user name' },
        header: { type: 'apiKey' as const, in: 'header' as const, name: 'X-ApiKey' },
      },
    },
    security: [{ bearer: [] }, { basic: [] }, { header: [] }],
  }
}
