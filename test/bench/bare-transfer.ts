/**
 * The limit of the machine for one large file: file → `node:tls` → SHA-256 → synced file, in two processes, with nothing of
 * ours but the certificates.
 */

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import { connect, createServer, type Server } from 'node:tls'
import { generateIdentity } from '../../src/network/identity.ts'
import { createLaneTls } from '../../src/network/lane-security.ts'
import { answerCalls } from './call-child.ts'

const PIECE_BYTES = 1024 * 1024
const tls = createLaneTls(generateIdentity())
let server: Server | undefined

const methods = {
  /** Sends the file to whoever connects. @returns the port */
  async serve(file: string): Promise<number> {
    server?.close()
    server = createServer(tls, (socket) => {
      pipeline(createReadStream(file, { highWaterMark: PIECE_BYTES }), socket).catch((error: unknown) => {
        console.error('the transfer broke off', error)
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  },

  /** Takes what is sent there into a synced file. */
  async take(
    from: { readonly host: string; readonly port: number },
    file: string,
  ): Promise<{
    readonly seconds: number
    readonly cpuSeconds: number
    readonly bytes: number
    readonly sha256: string
  }> {
    const cpu = process.cpuUsage()
    const start = performance.now()
    const socket = connect({ ...tls, ...from, checkServerIdentity: () => undefined })
    const sha256 = createHash('sha256')
    const output = createWriteStream(file, { highWaterMark: PIECE_BYTES, flush: true })
    let bytes = 0
    socket.on('data', (piece: Buffer) => {
      bytes += piece.length
      sha256.update(piece)
      if (output.write(piece)) return
      socket.pause()
      output.once('drain', () => socket.resume())
    })
    await finished(socket, { writable: false })
    output.end()
    await finished(output)
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { seconds, cpuSeconds: (user + system) / 1e6, bytes, sha256: sha256.digest('hex') }
  },
}

export type BareTransferMethods = typeof methods

answerCalls(methods)
