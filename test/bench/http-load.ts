/** Load over several keep-alive connections: all of a list of requests, or one request again and again. */

import { type HttpAnswer, HttpConnection } from './http-connection.ts'

async function onConnections(
  url: string,
  count: number,
  work: (connection: HttpConnection) => Promise<void>,
): Promise<void> {
  using stack = new DisposableStack()
  const connections: HttpConnection[] = []
  for (let at = 0; at < count; at += 1) connections.push(stack.use(await HttpConnection.open(url)))
  await Promise.all(connections.map(work))
}

export interface SentAll {
  readonly seconds: number
  /** Requests that were answered with 409, 500 or 503 and sent again. */
  readonly retries: number
}

const RETRIED = new Set([409, 500, 503])
const MAX_RETRIES = 20

/** Sends each request once, in order of the list; one that is turned away is sent again at once. */
export async function sendAll(url: string, requests: readonly Buffer[], connections: number): Promise<SentAll> {
  let next = 0
  let retries = 0
  let seconds = 0
  await onConnections(url, connections, async (connection) => {
    const start = performance.now()
    while (next < requests.length) {
      const request = requests[next]!
      next += 1
      let answer = await connection.send(request)
      for (let tries = 0; RETRIED.has(answer.status) && tries < MAX_RETRIES; tries += 1) {
        retries += 1
        answer = await connection.send(request)
      }
      verifyStatus(answer, [200, 201])
    }
    seconds = Math.max(seconds, (performance.now() - start) / 1000)
  })
  return { seconds, retries }
}

export interface Load {
  readonly url: string
  /** Sent in turn. */
  readonly requests: readonly Buffer[]
  readonly connections: number
  readonly durationMs: number
  readonly status: number
}

/** Requests answered per second. */
export async function measureRate({ url, requests, connections, durationMs, status }: Load): Promise<number> {
  let sent = 0
  let answered = 0
  const start = performance.now()
  let end = start
  await onConnections(url, connections, async (connection) => {
    while (performance.now() - start < durationMs) {
      const request = requests[sent % requests.length]!
      sent += 1
      verifyStatus(await connection.send(request), [status])
      answered += 1
    }
    end = performance.now()
  })
  return answered / ((end - start) / 1000)
}

function verifyStatus(answer: HttpAnswer, expected: readonly number[]): void {
  if (!expected.includes(answer.status))
    throw new Error(
      `the server answered ${answer.status} instead of ${expected.join(' or ')}: ${answer.head.slice(0, 300)}`,
    )
}
