/** Debian's libtorrent, driven by `libtorrent-peer.py`: a process for each peer. It does not encrypt. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'

/** The one that Debian's package is for, whatever else is on the path. */
const PYTHON = '/usr/bin/python3'
const SCRIPT = join(import.meta.dirname, 'libtorrent-peer.py')

export const NO_LIBTORRENT = 'skipped: libtorrent is not installed (apt-get install python3-libtorrent)'

export function isLibtorrentInstalled(): boolean {
  return spawnSync(PYTHON, ['-c', 'import libtorrent'], { stdio: 'ignore' }).status === 0
}

class TorrentPeer implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly folder: string
  port = 0

  constructor(folder: string) {
    this.folder = folder
    this.#child = spawn(PYTHON, [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#child.stdout! })
  }

  async call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const answered = once(this.#lines, 'line')
    const ended = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`the libtorrent process ended with ${String(code)} in ${method}`)
    })
    ended.catch(() => undefined) // It may end any time after the answer.
    this.#child.stdin!.write(`${JSON.stringify({ method, arguments: args })}\n`)
    const [line] = (await Promise.race([answered, ended])) as [string]
    return JSON.parse(line) as T
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

export interface TorrentResult {
  readonly seconds: number
  /** What the first peer sent of the file. */
  readonly sentBytes: number
}

/** One peer has the file `name` in `folder`; all others take it at the same time, and know each other. */
export async function shareByTorrent(
  folder: string,
  name: string,
  how: { readonly takers: number; readonly bytesPerSecond: number },
): Promise<TorrentResult> {
  await using stack = new AsyncDisposableStack()
  const seed = stack.use(new TorrentPeer(folder))
  const { torrent, port } = await seed.call<{ torrent: string; port: number }>('seed', folder, name, how.bytesPerSecond)
  const takers: TorrentPeer[] = []
  for (let at = 0; at < how.takers; at += 1) {
    const taker = stack.use(new TorrentPeer(join(folder, `taker-${at}`)))
    await mkdir(taker.folder, { recursive: true })
    taker.port = (await taker.call<{ port: number }>('prepare', taker.folder, torrent)).port
    takers.push(taker)
  }
  const times = await Promise.all(
    takers.map(async (taker) => {
      const others = takers.filter((other) => other !== taker).map((other) => other.port)
      return (await taker.call<{ seconds: number }>('take', taker.folder, [port, ...others])).seconds
    }),
  )
  const { bytes } = await seed.call<{ bytes: number }>('sent')
  return { seconds: Math.max(...times), sentBytes: bytes }
}
