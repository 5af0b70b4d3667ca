/**
 * The file in a push. NuGet clients send it as the first part of a form, curl may send it bare. Clients of 2.8 end the
 * part with a bare line feed, which readers that keep to RFC 2046 do not accept.
 */

import { FeedmeshError } from '../../../src/errors.ts'

const MAX_HEAD_BYTES = 16 * 1024
const FORM = /^multipart\/form-data\s*;/i

/** The bytes of the first part; of a body that is no form, all of it. @throws BAD_INPUT */
export function readFirstPart(
  contentType: string | undefined,
  body: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  if (contentType === undefined || !/^multipart\//i.test(contentType)) return body
  const [, quoted, bare] = /;\s*boundary=(?:"([^"]{1,200})"|([^;\s"]{1,200}))/i.exec(contentType) ?? []
  const boundary = quoted ?? bare
  if (!FORM.test(contentType) || boundary === undefined)
    throw new FeedmeshError(
      'BAD_INPUT',
      'the multipart body has no boundary; send multipart/form-data or the bare file',
    )
  return readPart(body, boundary)
}

async function* readPart(body: AsyncIterable<Uint8Array>, boundary: string): AsyncIterable<Uint8Array> {
  const opening = Buffer.from(`--${boundary}`)
  const closing = Buffer.from(`\n--${boundary}`)
  let state: 'head' | 'content' | 'rest' = 'head'
  let held = Buffer.alloc(0)
  for await (const chunk of body) {
    if (state === 'rest') continue
    held = Buffer.concat([held, chunk])
    if (state === 'head') {
      const start = findContent(held, opening)
      if (start === undefined) continue
      held = held.subarray(start)
      state = 'content'
    }
    const end = held.indexOf(closing)
    if (end >= 0) {
      yield held.subarray(0, end > 0 && held[end - 1] === 0x0d ? end - 1 : end)
      state = 'rest'
      continue
    }
    // What may be the beginning of the end stays, and the CR before it.
    const safe = held.length - closing.length
    if (safe <= 0) continue
    yield held.subarray(0, safe)
    held = Buffer.from(held.subarray(safe))
  }
  if (state !== 'rest') throw new FeedmeshError('BAD_INPUT', 'the multipart body is cut off')
}

/** Where the content of the first part starts; undefined = not all of its head is here. */
function findContent(held: Buffer, opening: Buffer): number | undefined {
  const start = held.indexOf(opening)
  const crlf = start < 0 ? -1 : held.indexOf('\r\n\r\n', start)
  const lf = start < 0 ? -1 : held.indexOf('\n\n', start)
  const ends = [crlf < 0 ? undefined : crlf + 4, lf < 0 ? undefined : lf + 2].filter((end) => end !== undefined)
  const end = Math.min(...ends)
  if (end <= MAX_HEAD_BYTES) return end
  if (held.length > MAX_HEAD_BYTES) throw new FeedmeshError('BAD_INPUT', 'the multipart body has no part with a head')
  return undefined
}
