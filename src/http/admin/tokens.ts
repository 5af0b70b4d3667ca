/** `/api/tokens` */

import { Type } from 'typebox'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { errors, identifier, listOf, nothing, tokenSummary } from './schemas.ts'

const tags = ['tokens']

export function registerTokenRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/tokens',
    {
      schema: {
        tags,
        operationId: 'listTokens',
        summary: 'Sync tokens made here, without their secrets',
        response: { 200: listOf('tokens', tokenSummary), ...errors },
      },
    },
    async () => ({ tokens: await operations.listTokens() }),
  )
  scope.post(
    '/tokens/:id/revoke',
    {
      schema: {
        tags,
        operationId: 'revokeToken',
        summary: 'End a token and every link made with it',
        params: Type.Object({ id: identifier }),
        response: { 204: nothing, ...errors },
      },
    },
    async (request, reply) => {
      await operations.revokeToken(request.params.id, actorOf(request))
      return reply.code(204).send()
    },
  )
}
