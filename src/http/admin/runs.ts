/** `/api/runs` */

import { Type } from 'typebox'
import type { AdminContext, AdminScope } from './admin-api.ts'
import { closed, errors, identifier, listOf, runDetails, runSummary } from './schemas.ts'

const tags = ['runs']
const DEFAULT_LIMIT = 100

export function registerRunRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/runs',
    {
      schema: {
        tags,
        operationId: 'listRuns',
        summary: 'Runs, newest first',
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000, default: DEFAULT_LIMIT })),
            replication: Type.Optional(identifier),
          },
          closed,
        ),
        response: { 200: listOf('runs', runSummary), ...errors },
      },
    },
    async (request, reply) => {
      const { limit = DEFAULT_LIMIT, replication } = request.query
      const runs = await operations.listRuns(limit)
      return reply.send({
        runs: runs.filter((run) => replication === undefined || run.replication === replication),
      })
    },
  )
  scope.get(
    '/runs/:id',
    {
      schema: {
        tags,
        operationId: 'showRun',
        summary: 'One run with every item',
        params: Type.Object({ id: Type.Integer({ minimum: 0 }) }),
        response: { 200: runDetails, ...errors },
      },
    },
    (request) => operations.showRun(request.params.id),
  )
}
