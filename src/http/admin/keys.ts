/** `/api/keys` */

import { Type } from 'typebox'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, errors, feedName, identifier, keySummary, listOf, nothing, permission } from './schemas.ts'

const tags = ['keys']
const newKey = Type.Object(
  {
    feed: Type.Union([feedName, Type.Null()], { description: 'null: every feed of the node' }),
    can: Type.Array(permission, { minItems: 1, maxItems: 4 }),
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
  },
  closed,
)
const created = Type.Object({ id: Type.String(), key: Type.String({ description: 'Shown this once.' }) }, closed)

export function registerKeyRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/keys',
    {
      schema: {
        tags,
        operationId: 'listKeys',
        summary: 'API keys, without their secrets',
        response: { 200: listOf('keys', keySummary), ...errors },
      },
    },
    async () => ({ keys: await operations.listKeys() }),
  )
  scope.post(
    '/keys',
    {
      schema: {
        tags,
        operationId: 'createKey',
        summary: 'Make an API key; it is answered this once',
        body: newKey,
        response: { 201: created, ...errors },
      },
    },
    async (request, reply) => reply.code(201).send(await operations.createKey(request.body, actorOf(request))),
  )
  scope.delete(
    '/keys/:id',
    {
      schema: {
        tags,
        operationId: 'revokeKey',
        summary: 'Revoke an API key',
        params: Type.Object({ id: identifier }),
        response: { 204: nothing, ...errors },
      },
    },
    async (request, reply) => {
      await operations.revokeKey(request.params.id, actorOf(request))
      return reply.code(204).send()
    },
  )
}
