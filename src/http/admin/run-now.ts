/** `POST /api/replications/:id/run`: waits for the result, tells the progress while it waits, or does not wait. */

import { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { asFeedmeshError } from '../../errors.ts'
import { renderError } from '../error-reply.ts'
import type { RunProgress, RunResult } from '../operations.ts'
import type { AdminContext, AdminScope } from './admin-api.ts'
import { closed, errors, identifier, runResult } from './schemas.ts'

const NDJSON = 'application/x-ndjson'
const PROGRESS_EVERY_MS = 1_000

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

/** One line of the answer while waiting. */
export type RunEvent =
  | ({ readonly event: 'progress' } & RunProgress)
  | { readonly event: 'result'; readonly result: RunResult }
  | { readonly event: 'error'; readonly error: { readonly code: string; readonly message: string } }

export function registerRunNow(scope: AdminScope, context: AdminContext): void {
  scope.post('/replications/:id/run', { schema }, async (request, reply) => {
    const { id } = request.params
    await context.operations.showReplication(id)
    if (request.query.wait === false) {
      await startOnly(id, context)
      return reply.code(202).send({ id, started: true })
    }
    if (request.headers.accept?.includes(NDJSON) === true) {
      reply.header('content-type', NDJSON)
      return reply.send(Readable.from(streamRun(id, context), { objectMode: false }))
    }
    waitWithoutLimit(request)
    return context.operations.runReplication(id, { signal: context.stopping })
  })
}

/** Refusals that need no peer are still told. */
async function startOnly(id: string, { operations, log, stopping }: AdminContext): Promise<void> {
  const run = operations.runReplication(id, { signal: stopping })
  await Promise.race([run, setImmediate()])
  run.catch((error: unknown) => log.info({ replication: id, err: error }, 'a run that nobody waited for failed'))
}

/** Nothing moves on the connection until the run has ended. */
function waitWithoutLimit({ raw: { socket } }: FastifyRequest): void {
  if (socket instanceof Socket) socket.setTimeout(0)
}

async function* streamRun(id: string, { operations, log, stopping }: AdminContext): AsyncIterable<string> {
  const noAmount = { items: 0, bytes: 0 }
  let progress: RunProgress = { planned: noAmount, done: noAmount }
  const ended = new AbortController()
  const outcome = operations
    .runReplication(id, { signal: stopping, onProgress: (next) => (progress = next) })
    .then((result): RunEvent => ({ event: 'result', result }))
    .catch((thrown: unknown): RunEvent => {
      const error = asFeedmeshError(thrown)
      if (error.code === 'INTERNAL') log.error({ err: thrown, replication: id }, 'run failed')
      return { event: 'error', ...renderError(error) }
    })
    .finally(() => ended.abort())
  while (!ended.signal.aborted) {
    yield renderLine({ event: 'progress', ...progress })
    await setTimeout(PROGRESS_EVERY_MS, undefined, { signal: ended.signal }).catch(verifyEnded)
  }
  yield renderLine({ event: 'progress', ...progress })
  yield renderLine(await outcome)
}

/** The wait was cut short because the run has ended. */
function verifyEnded(error: unknown): void {
  if (!(error instanceof Error) || error.name !== 'AbortError') throw error
}

function renderLine(event: RunEvent): string {
  return `${JSON.stringify(event)}\n`
}
