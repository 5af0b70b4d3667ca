/** Serves files of signed indexes. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IndexFile, SignedIndexes } from '../../src/feeds/signed-index.ts'
import { serveFile } from './serve-file.ts'

/** For what is always the newest, and for what a digest names. */
export const INDEX_CHANGING = 'private, no-cache'
export const INDEX_FOR_EVER = 'private, max-age=31536000, immutable'

export function serveIndexFile(
  request: FastifyRequest,
  reply: FastifyReply,
  served: { readonly file: IndexFile; readonly contentType: string; readonly cacheControl: string },
): Promise<FastifyReply> {
  const { file, contentType, cacheControl } = served
  matchDateExactly(request, file.modifiedAtMs)
  return serveFile(request, reply, {
    size: file.size,
    etag: `"${file.sha256}"`,
    contentType,
    modifiedAtMs: file.modifiedAtMs,
    headers: { 'cache-control': cacheControl },
    open: (range) => file.open(range),
  })
}

/** All keys by which the indexes may be signed. */
export async function serveIndexKeys(reply: FastifyReply, indexes: SignedIndexes): Promise<FastifyReply> {
  const keys = await indexes.readPublicKeys()
  return reply
    .headers({
      'content-type': 'application/pgp-keys',
      'x-content-type-options': 'nosniff',
      'cache-control': INDEX_CHANGING,
    })
    .send(Buffer.from(keys))
}

/**
 * Clients ask with the date of what they have. Only that very date means that they have what is here: a feed that serves another
 * signer's index than before may go back in time.
 */
function matchDateExactly(request: FastifyRequest, modifiedAtMs: number): void {
  const since = request.headers['if-modified-since']
  if (since !== undefined && Date.parse(since) !== Math.floor(modifiedAtMs / 1000) * 1000)
    delete request.headers['if-modified-since']
}
