/** `/api/status` and `/api/doctor` */

import type { AdminContext, AdminScope } from './admin-api.ts'
import { errors, listOf, nodeStatus, problem } from './schemas.ts'

const tags = ['node']

export function registerStatusRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/status',
    {
      schema: {
        tags,
        operationId: 'status',
        summary: 'The node in short',
        response: { 200: nodeStatus, ...errors },
      },
    },
    () => operations.status(),
  )
  scope.get(
    '/doctor',
    {
      schema: {
        tags,
        operationId: 'doctor',
        summary: 'Every open problem with its cure',
        response: { 200: listOf('problems', problem), ...errors },
      },
    },
    async () => ({ problems: await operations.doctor() }),
  )
}
