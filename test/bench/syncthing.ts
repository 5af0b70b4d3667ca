/**
 * Debian's Syncthing, a few devices on this machine that share one folder. Each knows the addresses of all others; discovery,
 * relays and reports are off. https://docs.syncthing.net/dev/rest.html
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { findFreePort } from './free-port.ts'
import { findProgram } from './installed.ts'

const run = promisify(execFile)

export const NO_SYNCTHING = 'skipped: Syncthing is not installed (apt-get install syncthing)'
const START_TIMEOUT_MS = 60_000
const ARRIVAL_TIMEOUT_MS = 600_000
const LOOK_EVERY_MS = 20
const SHARED = 'shared'

export function isSyncthingInstalled(): boolean {
  return findProgram('syncthing') !== undefined
}

interface Plan {
  readonly home: string
  /** The shared folder. */
  readonly files: string
  readonly id: string
  readonly apiKey: string
  readonly apiPort: number
  readonly port: number
}

interface FolderStatus {
  readonly state: string
  readonly globalFiles: number
  readonly globalBytes: number
  readonly needFiles: number
  readonly needBytes: number
}

async function planDevice(home: string): Promise<Plan> {
  const files = join(home, 'files')
  await mkdir(files, { recursive: true })
  await run('syncthing', ['generate', `--home=${home}`, '--no-default-folder', '--skip-port-probing'])
  const config = await readFile(join(home, 'config.xml'), 'utf8')
  const find = (pattern: RegExp) => pattern.exec(config)?.[1] ?? ''
  const [apiPort, port] = [await findFreePort(), await findFreePort()]
  return { home, files, id: find(/<device id="([^"]+)"/), apiKey: find(/<apikey>([^<]+)/), apiPort, port }
}

/** What is not said here is as shipped. */
function renderConfig(plan: Plan, all: readonly Plan[]): string {
  const off = ['globalAnnounceEnabled', 'localAnnounceEnabled', 'relaysEnabled', 'natEnabled', 'startBrowser']
  return [
    '<configuration version="36">',
    ...all.map(({ id, port }) => `<device id="${id}"><address>tcp://127.0.0.1:${port}</address></device>`),
    `<folder id="${SHARED}" path="${plan.files}" rescanIntervalS="0" fsWatcherEnabled="false">`,
    ...all.map(({ id }) => `<device id="${id}"></device>`),
    '</folder>',
    `<gui enabled="true" tls="false"><address>127.0.0.1:${plan.apiPort}</address><apikey>${plan.apiKey}</apikey></gui>`,
    '<options>',
    `<listenAddress>tcp://127.0.0.1:${plan.port}</listenAddress><reconnectionIntervalS>2</reconnectionIntervalS>`,
    ...off.map((name) => `<${name}>false</${name}>`),
    '<crashReportingEnabled>false</crashReportingEnabled><urAccepted>-1</urAccepted><setLowPriority>false</setLowPriority>',
    '</options>',
    '</configuration>',
  ].join('\n')
}

class Device implements AsyncDisposable {
  readonly plan: Plan
  readonly #child: ChildProcess

  constructor(plan: Plan) {
    this.plan = plan
    this.#child = spawn('syncthing', ['serve', `--home=${plan.home}`, '--no-browser', '--no-upgrade', '--no-restart'], {
      stdio: 'ignore',
      // It watches over a process of its own, which has to end with it.
      detached: true,
      env: { ...process.env, STNOUPGRADE: '1' },
    })
  }

  async call<T>(method: string, path: string, body?: object): Promise<T> {
    const { apiPort, apiKey } = this.plan
    const answer = await fetch(`http://127.0.0.1:${apiPort}/rest/${path}`, {
      method,
      headers: { 'x-api-key': apiKey, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(120_000),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`Syncthing answered ${answer.status} to ${method} ${path}: ${text.slice(0, 200)}`)
    return (text.startsWith('{') ? JSON.parse(text) : undefined) as T
  }

  async awaitStart(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS
    for (;;) {
      try {
        await this.call('GET', 'system/ping')
        return
      } catch (error) {
        if (this.#child.exitCode !== null || Date.now() > deadline) throw error
        await delay(100)
      }
    }
  }

  async status(): Promise<FolderStatus> {
    return await this.call('GET', `db/status?folder=${SHARED}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    process.kill(-this.#child.pid!, 'SIGKILL')
    await exited
  }
}

/** The first device has the files, the others take them. */
export class SyncthingSwarm implements AsyncDisposable {
  readonly #devices: readonly Device[]

  private constructor(devices: readonly Device[]) {
    this.#devices = devices
  }

  static async open(folder: string, takers: number): Promise<SyncthingSwarm> {
    const plans: Plan[] = []
    for (let at = 0; at <= takers; at += 1) plans.push(await planDevice(join(folder, `device-${at}`)))
    for (const plan of plans) await writeFile(join(plan.home, 'config.xml'), renderConfig(plan, plans))
    const swarm = new SyncthingSwarm(plans.map((plan) => new Device(plan)))
    for (const device of swarm.#devices) await device.awaitStart()
    await swarm.#awaitConnections()
    return swarm
  }

  get #source(): Device {
    return this.#devices[0]!
  }

  async #awaitConnections(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS
    for (const device of this.#devices) {
      const others = this.#devices.length - 1
      while (Object.values(await this.#connectionsOf(device)).filter(({ connected }) => connected).length < others) {
        if (Date.now() > deadline) throw new Error('the Syncthing devices did not find each other')
        await delay(100)
      }
    }
  }

  async #connectionsOf(device: Device): Promise<Record<string, { connected: boolean; outBytesTotal: number }>> {
    const answer = await device.call<{ connections: Record<string, { connected: boolean; outBytesTotal: number }> }>(
      'GET',
      'system/connections',
    )
    return answer.connections
  }

  /** Bytes that the source has sent so far, with everything around the files. */
  async sentBytes(): Promise<number> {
    const connections = Object.values(await this.#connectionsOf(this.#source))
    return connections.reduce((sum, { outBytesTotal }) => sum + outBytesTotal, 0)
  }

  async limitSource(bytesPerSecond: number): Promise<void> {
    const maxSendKbps = Math.round(bytesPerSecond / 1024)
    await this.#source.call('PATCH', 'config/options', { maxSendKbps, limitBandwidthInLan: true })
  }

  /**
   * `write` puts new files into the source's folder, which are hashed there before the clock starts.
   * @returns s from when the takers may begin until all of them have everything
   */
  async take(write: (folder: string) => Promise<void>): Promise<number> {
    const takers = this.#devices.slice(1)
    const pause = (paused: boolean) =>
      Promise.all(takers.map((taker) => taker.call('PATCH', `config/folders/${SHARED}`, { paused })))
    await pause(true)
    await write(this.#source.plan.files)
    await this.#source.call('POST', `db/scan?folder=${SHARED}`)
    const { globalFiles, globalBytes } = await this.#source.status()
    const start = performance.now()
    await pause(false)
    await Promise.all(takers.map((taker) => awaitAll(taker, { globalFiles, globalBytes })))
    return (performance.now() - start) / 1000
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const device of this.#devices) await device[Symbol.asyncDispose]()
  }
}

async function awaitAll(taker: Device, wanted: Pick<FolderStatus, 'globalFiles' | 'globalBytes'>): Promise<void> {
  const deadline = Date.now() + ARRIVAL_TIMEOUT_MS
  for (;;) {
    const { state, globalFiles, globalBytes, needFiles, needBytes } = await taker.status()
    const knowsAll = globalFiles === wanted.globalFiles && globalBytes === wanted.globalBytes
    if (state === 'idle' && knowsAll && needFiles === 0 && needBytes === 0) return
    if (Date.now() > deadline) throw new Error(`Syncthing did not get all files: ${state}, ${needFiles} are missing`)
    await delay(LOOK_EVERY_MS)
  }
}
