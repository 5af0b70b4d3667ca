/** Work that may take hours: answered when it has ended, or line by line while it goes on. It goes on when its caller leaves. */

import { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { asFeedmeshError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { renderError } from '../error-reply.ts'

export const NDJSON = 'application/x-ndjson'
const PROGRESS_EVERY_MS = 1_000

/** One line of an answer. `Progress` is what the work tells on its way. */
export type WorkEvent<Progress, Result> =
  | ({ readonly event: 'progress' } & Progress)
  | { readonly event: 'result'; readonly result: Result }
  | { readonly event: 'error'; readonly error: { readonly code: string; readonly message: string } }

export interface LongWork<Progress, Result> {
  /** Told before the work tells anything. */
  readonly begin: Progress
  readonly log: Log
  readonly start: (onProgress: (progress: Progress) => void) => Promise<Result>
}

/** The lines when the caller accepts them, else the result. */
export async function answerLongWork<Progress extends object, Result>(
  request: FastifyRequest,
  reply: FastifyReply,
  work: LongWork<Progress, Result>,
): Promise<Result | Readable> {
  if (request.headers.accept?.includes(NDJSON) === true) {
    reply.header('content-type', NDJSON)
    return Readable.from(renderLines(work), { objectMode: false })
  }
  // Nothing moves on the connection until the work has ended. An injected request has no real socket.
  if (request.raw.socket instanceof Socket) request.raw.socket.setTimeout(0)
  return work.start(() => undefined)
}

async function* renderLines<Progress extends object, Result>(work: LongWork<Progress, Result>): AsyncIterable<string> {
  type Event = WorkEvent<Progress, Result>
  let progress = work.begin
  const ended = new AbortController()
  const outcome = work
    .start((next) => (progress = next))
    .then((result): Event => ({ event: 'result', result }))
    .catch((thrown: unknown): Event => {
      const error = asFeedmeshError(thrown)
      if (error.code === 'INTERNAL') work.log.error({ err: thrown }, 'long work failed')
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

/** The wait was cut short because the work has ended. */
function verifyEnded(error: unknown): void {
  if (!(error instanceof Error) || error.name !== 'AbortError') throw error
}

function renderLine(event: object): string {
  return `${JSON.stringify(event)}\n`
}
