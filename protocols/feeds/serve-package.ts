/** Serves packages that are one file each (.deb, .rpm), which never change under their path. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Feed, FeedFile, FeedRow } from '../../src/feeds/feed.ts'
import { UNTRUSTED_HEADERS } from './html.ts'
import { serveFile } from './serve-file.ts'
import { INDEX_FOR_EVER } from './serve-index.ts'

export function servePackage(
  request: FastifyRequest,
  reply: FastifyReply,
  served: { readonly feed: Feed; readonly row: FeedRow; readonly file: FeedFile; readonly contentType: string },
): Promise<FastifyReply> {
  const { feed, row, file, contentType } = served
  return serveFile(request, reply, {
    size: file.size,
    etag: `"${file.digest}"`,
    contentType,
    modifiedAtMs: row.writtenAtMs,
    headers: { ...UNTRUSTED_HEADERS, 'cache-control': INDEX_FOR_EVER },
    open: (range) => feed.open(row, file, range),
  })
}
