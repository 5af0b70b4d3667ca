/**
 * One keep-alive HTTP/1.1 connection with one request at a time. It parses only what a benchmark needs (status, length,
 * chunks), so that on two cores the server is measured and not the client.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface HttpAnswer {
  readonly status: number
  /** Bytes of the body as sent. */
  readonly bytes: number
  /** Header lines, names as sent. */
  readonly head: string
  /** Empty unless bodies are kept. */
  readonly body: Buffer
}

interface Reading {
  head: string | undefined
  status: number
  bytes: number
  /** Of the body, or of the current chunk with its line end; undefined while the size of a chunk is to come. */
  left: number | undefined
  isChunked: boolean
  isLastChunk: boolean
  readonly parts: Buffer[]
}

const NOTHING = Buffer.alloc(0)
const HEAD_END = '\r\n\r\n'
const TIMEOUT_MS = 120_000

function newReading(): Reading {
  return { head: undefined, status: 0, bytes: 0, left: 0, isChunked: false, isLastChunk: false, parts: [] }
}

export class HttpConnection implements Disposable {
  readonly #socket: Socket
  readonly #keepsBodies: boolean
  #reading = newReading()
  #rest: Buffer = NOTHING
  #waiting: PromiseWithResolvers<HttpAnswer> | undefined

  private constructor(socket: Socket, keepsBodies: boolean) {
    this.#socket = socket
    this.#keepsBodies = keepsBodies
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer for ${TIMEOUT_MS} ms`)))
    socket.on('data', (chunk) => this.#take(chunk))
    socket.on('error', (error) => this.#waiting?.reject(error))
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')))
  }

  static async open(url: string, options: { readonly keepsBodies?: boolean } = {}): Promise<HttpConnection> {
    const { hostname, port } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    return new HttpConnection(socket, options.keepsBodies ?? false)
  }

  /** Sends a whole request, made by `renderRequest`. */
  send(request: Buffer): Promise<HttpAnswer> {
    this.#waiting = Promise.withResolvers<HttpAnswer>()
    this.#socket.write(request)
    return this.#waiting.promise
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = NOTHING
    if (this.#reading.head === undefined) {
      const end = bytes.indexOf(HEAD_END)
      if (end < 0) {
        this.#rest = bytes
        return
      }
      this.#readHead(bytes.toString('latin1', 0, end))
      bytes = bytes.subarray(end + HEAD_END.length)
    }
    if (this.#reading.isChunked) this.#takeChunks(bytes)
    else this.#takeBody(bytes)
  }

  #readHead(head: string): void {
    const reading = this.#reading
    reading.head = head
    reading.status = Number(head.slice(9, 12))
    reading.isChunked = /\r\ntransfer-encoding: *chunked/i.test(head)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    const hasNoBody = reading.status === 304 || reading.status === 204
    reading.left = reading.isChunked ? undefined : hasNoBody ? 0 : length
  }

  #keep(bytes: Buffer): void {
    this.#reading.bytes += bytes.length
    if (this.#keepsBodies && bytes.length > 0) this.#reading.parts.push(bytes)
  }

  #takeBody(bytes: Buffer): void {
    const reading = this.#reading
    this.#keep(bytes)
    reading.left = (reading.left ?? 0) - bytes.length
    if (reading.left === 0) this.#finish()
  }

  #takeChunks(bytes: Buffer): void {
    const reading = this.#reading
    let at = 0
    while (at < bytes.length || reading.left !== undefined) {
      if (reading.left === undefined) {
        const end = bytes.indexOf('\r\n', at)
        if (end < 0) break
        const size = Number.parseInt(bytes.toString('latin1', at, end), 16)
        reading.isLastChunk = size === 0
        reading.left = size + 2
        at = end + 2
      }
      const taken = Math.min(reading.left, bytes.length - at)
      const content = Math.max(0, Math.min(taken, reading.left - 2))
      this.#keep(bytes.subarray(at, at + content))
      reading.left -= taken
      at += taken
      if (reading.left > 0) return
      if (reading.isLastChunk) return this.#finish()
      reading.left = undefined
    }
    this.#rest = bytes.subarray(at)
  }

  #finish(): void {
    const { status, bytes, head = '', parts } = this.#reading
    const waiting = this.#waiting
    this.#reading = newReading()
    this.#waiting = undefined
    waiting?.resolve({ status, bytes, head, body: Buffer.concat(parts) })
  }
}

export interface RequestParts {
  readonly method?: string
  /** Absolute URL. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
}

export function renderRequest({ method = 'GET', url, headers = {}, body }: RequestParts): Buffer {
  const { host, pathname, search } = new URL(url)
  const lines = Object.entries({ host, ...headers, ...(body && { 'content-length': String(body.length) }) })
  const head = `${method} ${pathname}${search} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
  return body === undefined ? Buffer.from(head) : Buffer.concat([Buffer.from(head), body])
}

/** One request on a connection of its own, with its body. */
export async function requestOnce(parts: RequestParts): Promise<HttpAnswer> {
  using connection = await HttpConnection.open(parts.url, { keepsBodies: true })
  return await connection.send(renderRequest(parts))
}
