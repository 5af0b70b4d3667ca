/** Reading of request bodies with a byte limit, a time limit and bounded decompression. */

import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { GrowingBuffer } from './growing-buffer.ts'

/** A client that sends nothing for this long is given up. */
const IDLE_MS = 60_000
/** Content codings one body may be wrapped in. */
const MAX_CODINGS = 2

/** Hands the raw stream of every request body to the handlers of `scope`, whatever its content type. */
export function acceptRawBodies(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
}

export interface BodyLimits {
  /** Counted after decompression. */
  readonly maxBytes: number
  readonly idleMs?: number
}

/**
 * The body in pieces, content codings undone.
 * @throws TOO_LARGE; TIMEOUT when the client stalls; ABORTED when it leaves; BAD_INPUT for a broken or unknown coding
 */
export async function* readBody(request: FastifyRequest, limits: BodyLimits): AsyncIterable<Uint8Array> {
  const declared = Number(request.headers['content-length'] ?? 0)
  const codings = parseCodings(request.headers['content-encoding'])
  if (codings.length === 0 && declared > limits.maxBytes) throw tooLarge(limits.maxBytes)
  let size = 0
  for await (const chunk of decode(readRaw(request, limits.idleMs ?? IDLE_MS), codings)) {
    size += chunk.length
    if (size > limits.maxBytes) throw tooLarge(limits.maxBytes)
    yield chunk
  }
}

/** The whole body as JSON; an empty body is undefined. @throws as `readBody`; BAD_INPUT when it is not JSON. */
export async function readJsonBody(request: FastifyRequest, limits: BodyLimits): Promise<unknown> {
  const body = new GrowingBuffer()
  for await (const chunk of readBody(request, limits)) body.append(chunk)
  return body.size === 0 ? undefined : parseJson(body.bytes(), 'request body')
}

/** @throws BAD_INPUT naming `subject`. */
export function parseJson(bytes: Uint8Array, subject: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `the ${subject} is not JSON in UTF-8`, { cause })
  }
}

/** A JSON object, as opposed to an array, null or a scalar. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function* readRaw(request: FastifyRequest, idleMs: number): AsyncIterable<Uint8Array> {
  const raw: Readable = request.raw
  let isWaiting = true
  const timer = setTimeout(() => {
    const message = `the client sent nothing for ${idleMs / 1000} s; send the request again`
    if (isWaiting) raw.destroy(new FeedmeshError('TIMEOUT', message))
    else timer.refresh()
  }, idleMs)
  // The request must outlive a refusal, else the client sees a reset instead of the answer.
  const chunks = raw.iterator({ destroyOnReturn: false })
  try {
    for await (const chunk of chunks) {
      isWaiting = false
      yield chunk as Uint8Array
      isWaiting = true
      timer.refresh()
    }
  } catch (error) {
    if (isFeedmeshError(error)) throw error
    throw new FeedmeshError('ABORTED', 'the client left before the request was complete', { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

function parseCodings(header: string | undefined): string[] {
  const codings = (header ?? '')
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '' && coding !== 'identity')
  if (codings.length > MAX_CODINGS)
    throw new FeedmeshError('BAD_INPUT', `content-encoding ${header} has too many layers`)
  return codings
}

function decode(source: AsyncIterable<Uint8Array>, codings: readonly string[]): AsyncIterable<Uint8Array> {
  return codings.toReversed().reduce(decompress, source)
}

async function* decompress(source: AsyncIterable<Uint8Array>, coding: string): AsyncIterable<Uint8Array> {
  const decoder = createDecoder(coding)
  const fed = feed(source, decoder)
  // `feed` destroys the decoder with the same error, so the loop below is what reports it.
  fed.catch(() => undefined)
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array
  } catch (error) {
    if (isFeedmeshError(error)) throw error
    throw new FeedmeshError('BAD_INPUT', `the request body is not valid ${coding}`, { cause: error })
  }
  await fed
}

async function feed(source: AsyncIterable<Uint8Array>, decoder: ReturnType<typeof createDecoder>): Promise<void> {
  try {
    for await (const chunk of source) {
      if (decoder.destroyed) return
      if (!decoder.write(chunk)) await drained(decoder)
    }
    decoder.end()
  } catch (error) {
    decoder.destroy(error as Error)
  }
}

function drained(decoder: ReturnType<typeof createDecoder>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      decoder.off('drain', done).off('close', done)
      resolve()
    }
    decoder.on('drain', done).on('close', done)
  })
}

function createDecoder(coding: string) {
  if (coding === 'gzip' || coding === 'x-gzip') return createGunzip()
  if (coding === 'deflate') return createInflate()
  if (coding === 'br') return createBrotliDecompress()
  throw new FeedmeshError('BAD_INPUT', `content-encoding ${coding} is not understood; send gzip, deflate, br or none`)
}

function tooLarge(maxBytes: number): FeedmeshError {
  return new FeedmeshError('TOO_LARGE', `the request body has more than the ${maxBytes} bytes that are allowed`)
}
