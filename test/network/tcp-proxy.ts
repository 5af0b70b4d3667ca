/** A TCP proxy on a loopback address, which a test can cut, close and open again. */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

export interface TcpProxy {
  /** Breaks what goes through it now. */
  cut(): void
  /** Nothing goes through any more, and nothing is said about it. */
  freeze(): void
  /** Bytes that came through it in both directions. */
  passed(): number
  /** Cuts, once, as soon as so many more have come through. */
  cutAfter(bytes: number): void
  /** Cuts, and takes no connections. */
  close(): void
  reopen(): Promise<void>
}

interface Address {
  readonly host: string
  readonly port: number
}

export async function openTcpProxy(
  t: TestContext,
  from: Address,
  to: Address,
  onConnection: () => void = () => {},
): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let passed = 0
  let cutAt = Infinity
  const count = (piece: Buffer): void => {
    passed += piece.length
    if (passed < cutAt) return
    cutAt = Infinity
    cut()
  }
  const server = createServer((incoming) => {
    onConnection()
    const outgoing = connect(to)
    for (const socket of [incoming, outgoing]) {
      sockets.add(socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket)))
    }
    for (const socket of [incoming, outgoing]) socket.on('data', count)
    incoming.on('close', () => outgoing.destroy())
    outgoing.on('close', () => incoming.destroy())
    incoming.pipe(outgoing).pipe(incoming)
  })
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  const close = (): void => {
    cut()
    server.close()
  }
  const reopen = async (): Promise<void> => {
    server.listen(from.port, from.host)
    await once(server, 'listening')
  }
  t.after(close)
  await reopen()
  return {
    cut,
    close,
    reopen,
    passed: () => passed,
    cutAfter: (bytes) => {
      cutAt = passed + bytes
    },
    freeze: () => {
      for (const socket of sockets) socket.unpipe().pause()
    },
  }
}
