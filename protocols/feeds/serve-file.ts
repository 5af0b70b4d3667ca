/**
 * The one responder for files: conditional requests, ranges and streaming for every feed type.
 * Rules: RFC 9110 sections 13 (conditional requests) and 14 (range requests).
 */

import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ByteRange } from '../../src/store/blobs.ts'

export interface ServedFile {
  readonly size: number
  /** Strong entity tag, with its quotes. */
  readonly etag: string
  readonly contentType: string
  /** When the bytes became what they are, Unix time in ms. */
  readonly modifiedAtMs: number
  /** Further headers, names in lower case. */
  readonly headers?: Readonly<Record<string, string>>
  open(range?: ByteRange): Promise<Readable>
  /** The whole content when it is in memory; undefined = stream it. */
  findContent?(): Promise<Buffer | undefined>
}

export async function serveFile(
  request: FastifyRequest,
  reply: FastifyReply,
  file: ServedFile,
  now: number = Date.now(),
): Promise<FastifyReply> {
  const modified = findLastModified(file.modifiedAtMs, now)
  reply.headers({ 'accept-ranges': 'bytes', etag: file.etag, 'x-content-type-options': 'nosniff', ...file.headers })
  if (modified !== undefined) reply.header('last-modified', modified)
  if (!isMatch(request, file.etag)) return reply.code(412).send()
  if (isUnchanged(request, file.etag, modified)) return reply.code(304).send()
  reply.type(file.contentType)
  if (request.method === 'HEAD') return reply.header('content-length', file.size).send()

  const range = isRangeWanted(request, file.etag, modified) ? parseRange(request.headers.range, file.size) : undefined
  if (range === 'unsatisfiable') {
    return reply.code(416).removeHeader('content-type').header('content-range', `bytes */${file.size}`).send()
  }
  const body = await openBody(request, file, range)
  if (range !== undefined) reply.code(206).header('content-range', `bytes ${range.start}-${range.end - 1}/${file.size}`)
  reply.header('content-length', range === undefined ? file.size : range.end - range.start)
  return reply.send(body)
}

async function openBody(request: FastifyRequest, file: ServedFile, range?: ByteRange): Promise<Buffer | Readable> {
  const content = await file.findContent?.()
  if (content !== undefined) return range === undefined ? content : content.subarray(range.start, range.end)
  const stream = await file.open(range)
  if (request.raw.socket.destroyed) stream.destroy()
  return stream
}

/**
 * The wanted part of a file of `size` bytes; undefined = answer with the whole file (no range, several ranges, another
 * unit or a malformed header, RFC 9110 section 14.2).
 */
export function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=[ \t]*(\d{0,16})-(\d{0,16})[ \t]*$/i.exec(header ?? '')
  if (match === null) return undefined
  const [, first = '', last = ''] = match
  if (first === '' && last === '') return undefined
  if (first === '') {
    const length = Math.min(Number(last), size)
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size }
  }
  const start = Number(first)
  const end = last === '' ? size : Math.min(Number(last) + 1, size)
  if (last !== '' && Number(last) < start) return undefined
  return start >= size ? 'unsatisfiable' : { start, end }
}

/** Whether an `If-None-Match` header names `etag`, compared weakly. */
export function isListedEtag(header: string, etag: string): boolean {
  if (header.trim() === '*') return true
  return header.split(',').some((tag) => bareEtag(tag) === bareEtag(etag))
}

function bareEtag(tag: string): string {
  return tag.trim().replace(/^W\//, '')
}

/**
 * Dates have a resolution of one second: in the second of a change the date is left out, so that a second change within
 * it cannot be taken for the first (RFC 9110 section 8.8.2.2).
 */
function findLastModified(modifiedAtMs: number, now: number): string | undefined {
  return Math.floor(modifiedAtMs / 1000) < Math.floor(now / 1000) ? new Date(modifiedAtMs).toUTCString() : undefined
}

function isMatch(request: FastifyRequest, etag: string): boolean {
  const wanted = request.headers['if-match']
  return wanted === undefined || wanted.trim() === '*' || wanted.split(',').some((tag) => tag.trim() === etag)
}

function isUnchanged(request: FastifyRequest, etag: string, modified: string | undefined): boolean {
  const tags = request.headers['if-none-match']
  if (tags !== undefined) return isListedEtag(tags, etag)
  const since = Date.parse(request.headers['if-modified-since'] ?? '')
  return modified !== undefined && Date.parse(modified) <= since
}

/** A range counts only while the client's part is of the same bytes (RFC 9110 section 13.1.5). */
function isRangeWanted(request: FastifyRequest, etag: string, modified: string | undefined): boolean {
  const condition = request.headers['if-range']
  if (typeof condition !== 'string') return condition === undefined
  const text = condition.trim()
  if (text.startsWith('"') || text.startsWith('W/')) return text === etag
  return modified !== undefined && Date.parse(text) === Date.parse(modified)
}
