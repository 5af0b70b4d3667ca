/** `POST /api/replications/:id/run`: waits for the result, tells the progress while it waits, or does not wait. */

import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { Type } from 'typebox'
import type { RunProgress, RunResult } from '../operations.ts'
import type { AdminContext, AdminScope } from './admin-api.ts'
import { answerLongWork, NDJSON } from './long-work.ts'
import { closed, errors, identifier, runResult } from './schemas.ts'

const NOTHING = { items: 0, bytes: 0 }
const BEGIN: RunProgress = { planned: NOTHING, done: NOTHING }

const schema = {
  tags: ['replications'],
  operationId: 'runReplication',
  summary: `Run a replication now. With Accept: ${NDJSON} the answer is a line of JSON for each progress and a last one with the result or error. A run goes on when its caller leaves.`,
  params: Type.Object({ id: identifier }),
  querystring: Type.Object({ wait: Type.Optional(Type.Boolean({ description: 'false: answer 202 at once' })) }, closed),
  response: {
    200: Type.Unsafe<RunResult | Readable>(runResult),
    202: Type.Object({ id: Type.String(), started: Type.Literal(true) }, closed),
    ...errors,
  },
} as const

export function registerRunNow(scope: AdminScope, context: AdminContext): void {
  const { operations, log, stopping } = context
  scope.post('/replications/:id/run', { schema }, async (request, reply) => {
    const { id } = request.params
    await operations.showReplication(id)
    if (request.query.wait === false) {
      await startOnly(id, context)
      return reply.code(202).send({ id, started: true })
    }
    return answerLongWork(request, reply, {
      begin: BEGIN,
      log,
      start: (onProgress) => operations.runReplication(id, { signal: stopping, onProgress }),
    })
  })
}

/** Refusals that need no peer are still told. */
async function startOnly(id: string, { operations, log, stopping }: AdminContext): Promise<void> {
  const run = operations.runReplication(id, { signal: stopping })
  await Promise.race([run, setImmediate()])
  run.catch((error: unknown) => log.info({ replication: id, err: error }, 'a run that nobody waited for failed'))
}
