/** `/api/peers` */

import { Type } from 'typebox'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { errors, listOf, nothing, peerSummary } from './schemas.ts'

const tags = ['peers']

export function registerPeerRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/peers',
    {
      schema: {
        tags,
        operationId: 'listPeers',
        summary: 'Known peers with connection, round-trip time and rates',
        response: { 200: listOf('peers', peerSummary), ...errors },
      },
    },
    async () => ({ peers: await operations.peers() }),
  )
  scope.post(
    '/peers/:id/revoke',
    {
      schema: {
        tags,
        operationId: 'revokePeer',
        summary: 'End every link with one peer, and no other',
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 128, description: 'PeerId' }) }),
        response: { 204: nothing, ...errors },
      },
    },
    async (request, reply) => {
      await operations.revokePeer(request.params.id, actorOf(request))
      return reply.code(204).send()
    },
  )
}
