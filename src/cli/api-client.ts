/** The administration API of the node that commands talk to. */

import { Agent, type IncomingMessage } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import { FeedmeshError, isErrorCode } from '../errors.ts'
import type { WorkEvent } from '../http/admin/long-work.ts'
import type { RunProgress } from '../http/operations.ts'
import { type HttpRequest, sendRequest } from './http-request.ts'

const MAX_ANSWER_BYTES = 64 * 1024 * 1024
const IDLE_MS = 120_000
const NDJSON = 'application/x-ndjson'

export interface ApiAccess {
  readonly url: string
  readonly key: string
  /** The node of a data folder on this machine; its certificate is not made for the loopback address. */
  readonly isLocal: boolean
  /** Said when nothing answers: what to start. */
  readonly whenDown: string
}

export interface Upload {
  readonly size: number
  open(): AsyncIterable<Uint8Array>
}

export class ApiClient implements Disposable {
  readonly #access: ApiAccess
  readonly #signal: AbortSignal
  readonly #agent: Agent
  readonly #base: URL

  /** @throws BAD_INPUT when the URL is none */
  constructor(access: ApiAccess, signal: AbortSignal) {
    const base = URL.parse(access.url)
    if (base === null || (base.protocol !== 'http:' && base.protocol !== 'https:'))
      throw new FeedmeshError('BAD_INPUT', 'FEEDMESH_URL is not a URL such as http://127.0.0.1:8624')
    this.#access = access
    this.#signal = signal
    this.#base = base
    this.#agent = base.protocol === 'https:' ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true })
  }

  get<T>(path: string): Promise<T> {
    return this.#call<T>('GET', path)
  }

  post<T>(path: string, document?: unknown): Promise<T> {
    return this.#call<T>('POST', path, document)
  }

  patch<T>(path: string, document: unknown): Promise<T> {
    return this.#call<T>('PATCH', path, document)
  }

  async delete(path: string): Promise<void> {
    await this.#call('DELETE', path)
  }

  async upload<T>(path: string, file: Upload): Promise<T> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(file.size) }
    return parseJson(await this.#read(await this.#send('POST', path, { headers, upload: file.open() }))) as T
  }

  /**
   * Work that may take hours: the node tells every second that it goes on.
   * @throws the error that ended it; ABORTED when the node stopped
   */
  async work<Result>(
    path: string,
    options: { readonly document?: unknown; readonly onProgress?: (progress: RunProgress) => void } = {},
  ): Promise<Result> {
    for await (const line of this.#lines(path, options.document)) {
      const event = line as WorkEvent<RunProgress, Result>
      if (event.event === 'result') return event.result
      if (event.event === 'error') throw errorOf(event.error, 'the work failed')
      options.onProgress?.(event)
    }
    throw new FeedmeshError('ABORTED', 'the node stopped before the work had ended')
  }

  async *#lines(path: string, value: unknown): AsyncIterable<unknown> {
    const { headers, ...body } = renderBody(value)
    const answer = await this.#send('POST', path, { headers: { ...headers, accept: NDJSON }, ...body })
    let rest = ''
    try {
      for await (const chunk of answer.setEncoding('utf8')) {
        const lines = (rest + String(chunk)).split('\n')
        rest = lines.pop() ?? ''
        if (rest.length > MAX_ANSWER_BYTES) throw tooLong()
        for (const line of lines) yield parseJson(line)
      }
    } catch (error) {
      throw this.#describeFailure(error)
    }
  }

  async #call<T>(method: string, path: string, value?: unknown): Promise<T> {
    const text = await this.#read(await this.#send(method, path, renderBody(value)))
    return (text === '' ? undefined : parseJson(text)) as T
  }

  /** @throws the error of the node; NODE_NOT_RUNNING, NOT_A_NODE, TIMEOUT, ABORTED */
  async #send(
    method: string,
    path: string,
    { headers, ...body }: Pick<HttpRequest, 'headers' | 'document' | 'upload'>,
  ): Promise<IncomingMessage> {
    const url = new URL(`${this.#base.pathname.replace(/\/$/, '')}/api${path}`, this.#base)
    let answer: IncomingMessage
    try {
      answer = await sendRequest(url, {
        ...body,
        method,
        headers: { authorization: `Bearer ${this.#access.key}`, ...headers },
        idleMs: IDLE_MS,
        signal: this.#signal,
        agent: this.#agent,
        verifyCertificate: !this.#access.isLocal,
      })
    } catch (error) {
      throw this.#describeFailure(error)
    }
    const status = answer.statusCode ?? 0
    if (status >= 200 && status <= 299) return answer
    throw parseError(await this.#read(answer), status, this.#base.origin)
  }

  async #read(answer: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = []
    let size = 0
    try {
      for await (const chunk of answer) {
        chunks.push(chunk as Buffer)
        size += (chunk as Buffer).length
        if (size > MAX_ANSWER_BYTES) throw tooLong()
      }
    } catch (error) {
      throw this.#describeFailure(error)
    }
    return Buffer.concat(chunks).toString('utf8')
  }

  #describeFailure(error: unknown): unknown {
    if (error instanceof FeedmeshError) return error
    if (this.#signal.aborted) return new FeedmeshError('ABORTED', 'stopped; what the node has begun goes on there')
    const { code, message, errors } = error as NodeJS.ErrnoException & { readonly errors?: readonly Error[] }
    const why = message === '' ? (errors?.[0]?.message ?? code) : message
    const isCertificate = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO/.test(code ?? '')
    if (isCertificate)
      return new FeedmeshError(
        'NOT_A_NODE',
        `the certificate of ${this.#base.origin} is not trusted here (${why}); give its CA in NODE_EXTRA_CA_CERTS`,
        { cause: error },
      )
    return new FeedmeshError(
      'NODE_NOT_RUNNING',
      `no node answers at ${this.#base.origin} (${why}); ${this.#access.whenDown}`,
      {
        cause: error,
      },
    )
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

function renderBody(value: unknown): Pick<HttpRequest, 'headers' | 'document'> {
  if (value === undefined) return { headers: {} }
  const document = Buffer.from(JSON.stringify(value))
  return { headers: { 'content-type': 'application/json', 'content-length': String(document.length) }, document }
}

function tooLong(): FeedmeshError {
  return new FeedmeshError('TOO_LARGE', `the answer of the node has more than ${MAX_ANSWER_BYTES} bytes`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FeedmeshError('NOT_A_NODE', 'what answers is not a Feedmesh node: its answer is not JSON', { cause })
  }
}

/** An error as the node sends it. Codes of a newer node stay readable in the message. */
export function parseError(text: string, status: number, where: string): FeedmeshError {
  let error: unknown
  try {
    error = (JSON.parse(text) as { readonly error?: unknown }).error
  } catch (cause) {
    return new FeedmeshError('NOT_A_NODE', `what answers at ${where} is not a Feedmesh node (HTTP ${status})`, {
      cause,
    })
  }
  return errorOf(error, `HTTP ${status} from ${where}`)
}

/** `{code, message}` as one of our errors. */
export function errorOf(error: unknown, fallback: string): FeedmeshError {
  const { code, message } = (error ?? {}) as { readonly code?: unknown; readonly message?: unknown }
  const text = typeof message === 'string' ? message : fallback
  if (isErrorCode(code)) return new FeedmeshError(code, text)
  return new FeedmeshError('INTERNAL', typeof code === 'string' ? `${code}: ${text}` : text)
}
