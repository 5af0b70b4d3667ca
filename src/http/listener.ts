/** The bare HTTP or HTTPS server under Fastify, with its limits against slow and greedy clients. */

import { readFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Config } from '../config.ts'
import { FeedmeshError } from '../errors.ts'
import type { ContinueWhenRead } from './expect-continue.ts'

export interface ListenerLimits {
  readonly headersTimeoutMs: number
  readonly keepAliveTimeoutMs: number
  /** A connection on which nothing moves in either direction for this long is closed. */
  readonly idleTimeoutMs: number
  readonly maxHeaderBytes: number
  readonly maxHeaders: number
  readonly maxConnections: number
}

export const LISTENER_LIMITS: ListenerLimits = {
  headersTimeoutMs: 30_000,
  keepAliveTimeoutMs: 72_000,
  idleTimeoutMs: 300_000,
  maxHeaderBytes: 32 * 1024,
  maxHeaders: 100,
  maxConnections: 10_000,
}

export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
}

export interface ListenerOptions {
  readonly tls: TlsFiles | undefined
  readonly limits: ListenerLimits
  readonly continues: ContinueWhenRead
}

/** @throws BAD_INPUT naming the file that cannot be read */
export async function readTlsFiles({ tlsCert, tlsKey }: Config): Promise<TlsFiles | undefined> {
  if (tlsCert === null || tlsKey === null) return undefined
  return { cert: await readPem(tlsCert, '--tls-cert'), key: await readPem(tlsKey, '--tls-key') }
}

async function readPem(path: string, option: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${option} ${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** @throws BAD_INPUT when certificate and key do not fit together */
export function createListener(handler: RequestListener, { tls, limits, continues }: ListenerOptions): Server {
  // Node's own request timeout would end hours-long uploads; SlowClientWatch ends the ones that do not progress.
  const options = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    maxHeaderSize: limits.maxHeaderBytes,
    connectionsCheckingInterval: Math.min(5_000, limits.headersTimeoutMs),
  }
  const server = tls === undefined ? createServer(options, handler) : createTlsServer(options, tls, handler)
  server.timeout = limits.idleTimeoutMs
  server.maxHeadersCount = limits.maxHeaders
  server.maxConnections = limits.maxConnections
  continues.attach(server)
  return server
}

function createTlsServer(options: object, tls: TlsFiles, handler: RequestListener): Server {
  try {
    return createSecureServer({ ...options, ...tls }, handler)
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `--tls-cert and --tls-key: ${(cause as Error).message}`, { cause })
  }
}
