/** The limit of the machine: Fastify that answers with bytes it is given, with no feed behind it. */

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import fastify from 'fastify'
import { answerCalls } from './call-child.ts'

const app = fastify()
let packument: { readonly body: Buffer; readonly headers: Readonly<Record<string, string>> }
let tarballs = ''

app.get('/packument', async (request, reply) => {
  const { body, headers } = packument
  reply.headers(headers)
  if (request.headers['if-none-match'] === headers.etag) return reply.code(304).send()
  return reply.send(body)
})

app.get<{ Params: { readonly name: string } }>('/tarball/:name', async (request, reply) => {
  const path = join(tarballs, basename(request.params.name))
  const { size } = await stat(path)
  reply.headers({ 'content-type': 'application/octet-stream', 'content-length': size })
  return reply.send(createReadStream(path))
})

export interface BareContent {
  /** Base64. */
  readonly packument: string
  readonly headers: Readonly<Record<string, string>>
  /** Path of a folder of files. */
  readonly tarballs: string
}

const methods = {
  async start(content: BareContent): Promise<string> {
    packument = { body: Buffer.from(content.packument, 'base64'), headers: content.headers }
    tarballs = content.tarballs
    return await app.listen({ host: '127.0.0.1', port: 0 })
  },
}

export type BareMethods = typeof methods

answerCalls(methods)
