/** One HTTP request with time limits; bodies are streams. */

import { once } from 'node:events'
import { type Agent, type ClientRequest, type IncomingMessage, request as requestPlain } from 'node:http'
import { request as requestSecure } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { FeedmeshError } from '../errors.ts'

export interface HttpRequest {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly document?: Buffer
  /** Sent only once the node has checked the key. */
  readonly upload?: AsyncIterable<Uint8Array>
  /** The longest that nothing may move in either direction. */
  readonly idleMs: number
  readonly signal: AbortSignal
  readonly agent: Agent
  /** Whether the certificate must be one that this machine trusts. */
  readonly verifyCertificate: boolean
}

/** A proxy that does not know `Expect` keeps silent. */
const CONTINUE_WAIT_MS = 2_000

/** @throws Node's own error when there is no connection; TIMEOUT; ABORTED */
export async function sendRequest(url: URL, options: HttpRequest): Promise<IncomingMessage> {
  const { upload, idleMs } = options
  const request = createRequest(url, options)
  request.setTimeout(idleMs, () => {
    request.destroy(new FeedmeshError('TIMEOUT', `the node said nothing for ${idleMs / 1000} s`))
  })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  if (upload !== undefined) return sendUpload(request, answered, upload)
  request.end(options.document)
  const [answer] = await answered
  return answer
}

function createRequest(url: URL, options: HttpRequest): ClientRequest {
  const { method, headers, upload, signal, agent, verifyCertificate } = options
  const expect = upload === undefined ? {} : { expect: '100-continue' }
  const common = { method, headers: { ...headers, ...expect }, agent, signal }
  if (url.protocol !== 'https:') return requestPlain(url, common)
  return requestSecure(url, { ...common, rejectUnauthorized: verifyCertificate })
}

async function sendUpload(
  request: ClientRequest,
  answered: Promise<[IncomingMessage]>,
  upload: AsyncIterable<Uint8Array>,
): Promise<IncomingMessage> {
  request.flushHeaders()
  const go = await Promise.race([answered, once(request, 'continue'), waitFor(CONTINUE_WAIT_MS)])
  const [refusal] = (go ?? []) as readonly IncomingMessage[]
  if (refusal !== undefined) return refusal
  const sent = pipeline(Readable.from(upload, { objectMode: false }), request)
  try {
    const [answer] = await Promise.race([answered, sent.then(() => answered)])
    return answer
  } catch (error) {
    // A refusal in the middle of the body breaks the pipe; the answer tells more than the broken pipe.
    const late = await Promise.race([answered.catch(() => undefined), waitFor(CONTINUE_WAIT_MS)])
    if (late === undefined) throw error
    return late[0]
  } finally {
    sent.catch(() => undefined)
  }
}

function waitFor(ms: number): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  setTimeout(() => resolve(undefined), ms).unref()
  return promise
}
