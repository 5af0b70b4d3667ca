/** The node's configuration: `config.json` in the data folder, overridden by the options of `feedmesh start`. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FeedmeshError } from './errors.ts'

export interface Config {
  /** Where the HTTP server listens: `HOST:PORT`; port 0 picks a free one. */
  readonly http: string
  /** PEM files; both or neither. */
  readonly tlsCert: string | null
  readonly tlsKey: string | null
  /** CIDR of reverse proxies whose X-Forwarded-* headers count. */
  readonly trustProxy: string | null
  /** Multiaddrs to listen on for peers. */
  readonly listen: readonly string[]
  /** Multiaddrs told to peers instead of the ones found out. */
  readonly announce: readonly string[]
  /**
   * Where large transfers with peers are taken: `HOST:PORT`; `auto`: at the host of the first `listen` and the port after its
   * own, a free one where that is 0 or taken; null: over the connections of `listen`.
   */
  readonly bulk: string | null
  /**
   * Whether the node takes part in the DHT, where readers of a feed find each other that no peer can introduce. It learns and
   * keeps which nodes stand under keys that tell nothing.
   */
  readonly dht: boolean
  /** Multiaddrs with `/p2p/` of nodes of the DHT that are always dialled. */
  readonly bootstrap: readonly string[]
  /** Labels of where the node stands; peers with the same site are near. */
  readonly site: string
  readonly region: string
  /** Largest file a feed takes, bytes. */
  readonly maxFileBytes: number
  /** Bytes a second of files, each way, with all peers together; null: as the network allows. */
  readonly maxRate: number | null
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug'
}

export const DEFAULT_CONFIG: Config = {
  http: '127.0.0.1:8624',
  tlsCert: null,
  tlsKey: null,
  trustProxy: null,
  listen: ['/ip4/0.0.0.0/tcp/8625'],
  announce: [],
  bulk: 'auto',
  dht: false,
  bootstrap: [],
  site: '',
  region: '',
  maxFileBytes: 20 * 1024 ** 3,
  maxRate: null,
  logLevel: 'info',
}

/** Bytes a second; at less, peers take a transfer for one that hangs. */
export const MIN_RATE = 64 * 1024

export const CONFIG_FILE = 'config.json'

type Check = (value: unknown) => boolean
const isText: Check = (value) => typeof value === 'string'
const isTextOrNull: Check = (value) => value === null || isText(value)
const isTextList: Check = (value) => Array.isArray(value) && value.every(isText)

const PEER_ADDRESS = /^\/(?:ip4|ip6|dns[46]?)\/[^/\s]{1,253}\/tcp\/[1-9]\d{0,4}\/p2p\/[1-9A-HJ-NP-Za-km-z]{40,80}$/
const MAX_BOOTSTRAP = 32
const isPeerAddressList: Check = (value) =>
  isTextList(value) &&
  (value as string[]).length <= MAX_BOOTSTRAP &&
  (value as string[]).every((one) => PEER_ADDRESS.test(one))

const CHECKS: Readonly<Record<keyof Config, readonly [Check, string]>> = {
  http: [(value) => typeof value === 'string' && parseHostPort(value) !== undefined, 'HOST:PORT'],
  tlsCert: [isTextOrNull, 'the path of a PEM file or null'],
  tlsKey: [isTextOrNull, 'the path of a PEM file or null'],
  trustProxy: [isTextOrNull, 'a CIDR or null'],
  listen: [isTextList, 'a list of multiaddrs'],
  announce: [isTextList, 'a list of multiaddrs'],
  bulk: [
    (value) => value === null || value === 'auto' || (typeof value === 'string' && parseHostPort(value) !== undefined),
    'HOST:PORT, auto or null',
  ],
  dht: [(value) => typeof value === 'boolean', 'true or false'],
  bootstrap: [
    isPeerAddressList,
    `a list of at most ${MAX_BOOTSTRAP} addresses such as /ip4/192.0.2.1/tcp/8625/p2p/12D3KooW…`,
  ],
  site: [isText, 'text'],
  region: [isText, 'text'],
  maxRate: [
    (value) => value === null || (Number.isSafeInteger(value) && Number(value) >= MIN_RATE),
    `bytes a second, at least ${MIN_RATE}, or null`,
  ],
  maxFileBytes: [(value) => Number.isSafeInteger(value) && Number(value) > 0, 'a number of bytes'],
  logLevel: [
    (value) => ['silent', 'error', 'warn', 'info', 'debug'].includes(String(value)),
    'silent, error, warn, info or debug',
  ],
}

/** `[::1]:80`, `127.0.0.1:0`, `localhost:8624` → parts; undefined for anything else. */
export function parseHostPort(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-f:]+)\]|([^:/\s]+)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  return host === undefined || port > 65_535 ? undefined : { host, port }
}

/** @throws BAD_INPUT naming the key that is unknown or wrong */
export function parseConfig(value: unknown, where: string): Config {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new FeedmeshError('BAD_INPUT', `${where}: not a JSON object`)
  for (const [key, given] of Object.entries(value)) {
    if (!Object.hasOwn(CHECKS, key))
      throw new FeedmeshError('BAD_INPUT', `${where}: unknown key ${key}; known are ${Object.keys(CHECKS).join(', ')}`)
    const [check, expected] = CHECKS[key as keyof Config]
    if (!check(given))
      throw new FeedmeshError('BAD_INPUT', `${where}: ${key} must be ${expected}, not ${JSON.stringify(given)}`)
  }
  const config: Config = { ...DEFAULT_CONFIG, ...value }
  if ((config.tlsCert === null) !== (config.tlsKey === null))
    throw new FeedmeshError('BAD_INPUT', `${where}: tlsCert and tlsKey go together`)
  if (config.bootstrap.length > 0 && !config.dht)
    throw new FeedmeshError('BAD_INPUT', `${where}: bootstrap names nodes of the DHT; set dht to true, or leave it out`)
  return config
}

/** @throws BAD_INPUT */
export async function readConfig(directory: string): Promise<Config> {
  const path = join(directory, CONFIG_FILE)
  const json = await readFile(path, 'utf8')
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${path}: not JSON: ${(cause as Error).message}`, { cause })
  }
  return parseConfig(value, path)
}

/** Writes only what differs from the defaults, so that later defaults apply. */
export async function writeConfig(directory: string, config: Partial<Config>): Promise<void> {
  await writeFile(join(directory, CONFIG_FILE), `${JSON.stringify(config, null, 2)}\n`, {
    mode: 0o600,
    flag: 'wx',
    flush: true,
  })
}
