/** The HTTP server on a free loopback port over operations in memory. */

import { type Config, DEFAULT_CONFIG } from '../../src/config.ts'
import { type HttpLimits, type HttpServer, openHttpServer } from '../../src/http/server.ts'
import { createLog, type Log } from '../../src/log.ts'
import { FakeOperations } from './fake-operations.ts'

export interface TestServer extends HttpServer {
  readonly operations: FakeOperations
}

export interface TestServerOptions {
  readonly config?: Partial<Config>
  readonly limits?: Partial<HttpLimits>
  readonly log?: Log
}

export async function openTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const operations = new FakeOperations()
  const {
    url,
    app,
    [Symbol.asyncDispose]: dispose,
  } = await openHttpServer({
    operations,
    config: { ...DEFAULT_CONFIG, http: '127.0.0.1:0', ...options.config },
    log: options.log ?? createLog('silent'),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  return { url, app, operations, [Symbol.asyncDispose]: dispose }
}
