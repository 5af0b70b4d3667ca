/**
 * `Expect: 100-continue` (RFC 9110 10.1.1): the client waits for a nod before it sends its body. Node would nod before
 * anybody has looked at the key; here the nod is given when the handler begins to read, which it does after the checks.
 */

import type { Server, ServerResponse } from 'node:http'

export class ContinueWhenRead {
  readonly #waiting = new WeakSet<ServerResponse>()

  /** Whether the client still waits for the nod. */
  isAwaited(response: ServerResponse): boolean {
    return this.#waiting.has(response)
  }

  attach(server: Server): void {
    server.on('checkContinue', (request, response) => {
      this.#waiting.add(response)
      // Refused: whether the body still follows is the client's choice, so nothing else can be read from this connection.
      response.setHeader('connection', 'close')
      const nod = (event: string | symbol) => {
        if ((event !== 'data' && event !== 'readable') || !this.#waiting.delete(response)) return
        request.off('newListener', nod)
        if (response.headersSent) return
        response.removeHeader('connection')
        response.writeContinue()
      }
      request.on('newListener', nod)
      server.emit('request', request, response)
    })
  }
}
