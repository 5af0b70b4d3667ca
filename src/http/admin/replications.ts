/** `/api/replications` */

import { Type } from 'typebox'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { registerRunNow } from './run-now.ts'
import {
  availability,
  closed,
  communication,
  deletes,
  errors,
  feedName,
  globs,
  identifier,
  listOf,
  maxRate,
  mode,
  nothing,
  quotaBytes,
  replicationCreated,
  replicationPlan,
  replicationSummary,
  serve,
  timeWindow,
} from './schemas.ts'

const tags = ['replications']
export const params = Type.Object({ id: identifier })
const url = Type.String({ minLength: 1, maxLength: 2048, description: 'Base URL of the other end' })
const token = Type.String({ minLength: 1, maxLength: 65_536, description: 'Incoming: `new` makes one' })
const addresses = Type.Array(Type.String({ maxLength: 256 }), { maxItems: 32, description: 'Multiaddrs' })
const everyMs = Type.Integer({ minimum: 1000, maximum: 30 * 86_400_000 })
const limits = {
  quotaBytes: Type.Optional(quotaBytes),
  pins: Type.Optional(globs),
  maxRate: Type.Optional(maxRate),
  window: Type.Optional(timeWindow),
}

const newReplication = Type.Object(
  {
    feeds: Type.Array(Type.Object({ local: feedName, remote: Type.Optional(feedName) }, closed), {
      minItems: 1,
      maxItems: 64,
    }),
    communication,
    mode,
    token: Type.Optional(token),
    peers: Type.Optional(Type.Array(Type.String({ maxLength: 128 }), { maxItems: 256, description: 'PeerIds' })),
    url: Type.Optional(url),
    addresses: Type.Optional(addresses),
    availability: Type.Optional(availability),
    deletes: Type.Optional(deletes),
    scope: Type.Optional(globs),
    include: Type.Optional(globs),
    exclude: Type.Optional(globs),
    mayExtend: Type.Optional(Type.Boolean()),
    relay: Type.Optional(Type.Boolean()),
    serve: Type.Optional(serve),
    everyMs: Type.Optional(everyMs),
    ...limits,
    tokenExpiresInMs: Type.Optional(Type.Integer({ minimum: 1000 })),
    tokenUses: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  },
  closed,
)

const changes = Type.Object(
  {
    availability: Type.Optional(availability),
    deletes: Type.Optional(deletes),
    serve: Type.Optional(serve),
    include: Type.Optional(globs),
    exclude: Type.Optional(globs),
    everyMs: Type.Optional(everyMs),
    ...limits,
    url: Type.Optional(url),
    token: Type.Optional(token),
    addresses: Type.Optional(addresses),
  },
  { ...closed, minProperties: 1 },
)

export function registerReplicationRoutes(scope: AdminScope, context: AdminContext): void {
  const { operations } = context
  scope.get(
    '/replications',
    {
      schema: {
        tags,
        operationId: 'listReplications',
        summary: 'All replications with state and lag',
        response: { 200: listOf('replications', replicationSummary), ...errors },
      },
    },
    async () => ({ replications: await operations.listReplications() }),
  )
  scope.post(
    '/replications',
    {
      schema: {
        tags,
        operationId: 'addReplication',
        summary: 'Add a replication; an incoming one answers its token and join code, once',
        body: newReplication,
        response: { 201: replicationCreated, ...errors },
      },
    },
    async (request, reply) => reply.code(201).send(await operations.addReplication(request.body, actorOf(request))),
  )
  registerOneReplication(scope, context)
  registerPlanAndPause(scope, context)
  registerRunNow(scope, context)
}

function registerOneReplication(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/replications/:id',
    {
      schema: {
        tags,
        operationId: 'showReplication',
        summary: 'One replication',
        params,
        response: { 200: replicationSummary, ...errors },
      },
    },
    (request) => operations.showReplication(request.params.id),
  )
  scope.patch(
    '/replications/:id',
    {
      schema: {
        tags,
        operationId: 'editReplication',
        summary: 'Change a replication',
        params,
        body: changes,
        response: { 200: replicationSummary, ...errors },
      },
    },
    async (request, reply) => {
      await operations.editReplication(request.params.id, request.body, actorOf(request))
      return reply.send(await operations.showReplication(request.params.id))
    },
  )
  scope.delete(
    '/replications/:id',
    {
      schema: {
        tags,
        operationId: 'removeReplication',
        summary: 'Remove a replication; what was received stays',
        params,
        response: { 204: nothing, ...errors },
      },
    },
    async (request, reply) => {
      await operations.removeReplication(request.params.id, actorOf(request))
      return reply.code(204).send()
    },
  )
}

function registerPlanAndPause(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/replications/:id/plan',
    {
      schema: {
        tags,
        operationId: 'planReplication',
        summary: 'What a run would fetch, send and delete',
        params,
        response: { 200: replicationPlan, ...errors },
      },
    },
    (request) => operations.planReplication(request.params.id),
  )
  const verbs = [
    { verb: 'pause', paused: true, summary: 'Stop replicating until resumed' },
    { verb: 'resume', paused: false, summary: 'Go on replicating' },
  ] as const
  for (const { verb, paused, summary } of verbs) {
    scope.post(
      `/replications/:id/${verb}`,
      {
        schema: {
          tags,
          operationId: `${verb}Replication`,
          summary,
          params,
          response: { 200: replicationSummary, ...errors },
        },
      },
      async (request) => {
        await operations.pauseReplication(request.params.id, paused, actorOf(request))
        return operations.showReplication(request.params.id)
      },
    )
  }
}
