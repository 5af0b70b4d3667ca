/** Options of the node's configuration, for `start` (this time) and `init` (for good). */

import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { type Config, parseConfig } from '../config.ts'
import { FeedmeshError } from '../errors.ts'

export interface NodeFlags {
  readonly http?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly trustProxy?: string
  readonly listen?: string[]
  readonly announce?: string[]
  readonly bulk?: string
  readonly dht?: boolean
  readonly bootstrap?: string[]
  readonly site?: string
  readonly region?: string
  readonly logLevel?: Config['logLevel']
}

export function addNodeOptions(command: Command): Command {
  return command
    .option('--http <host:port>', 'where the HTTP server listens; port 0 picks a free one')
    .option('--tls-cert <file>', 'PEM file of the certificate; HTTPS instead of HTTP')
    .option('--tls-key <file>', 'PEM file of its key')
    .option('--trust-proxy <cidr>', 'reverse proxies whose X-Forwarded-* headers count')
    .option('--listen <multiaddr...>', 'where other nodes connect, such as /ip4/0.0.0.0/tcp/8625')
    .option('--announce <multiaddr...>', 'addresses that other nodes are told instead')
    .option('--bulk <host:port|off>', 'where large transfers are taken; unless told, beside the first --listen address')
    .option('--dht', 'take part in the DHT, where readers of a feed find each other without their hub')
    .option(
      '--bootstrap <multiaddr...>',
      'nodes of the DHT to begin with, each with /p2p/ and its PeerId; implies --dht',
    )
    .option('--site <name>', 'label of the place; nodes of one site are near')
    .option('--region <name>', 'label of the region')
    .addOption(
      new Option('--log-level <level>', 'how much is logged to stderr').choices([
        'silent',
        'error',
        'warn',
        'info',
        'debug',
      ]),
    )
}

/** @throws BAD_INPUT naming the option */
export function parseNodeFlags(flags: NodeFlags): Partial<Config> {
  const { http, tlsCert, tlsKey, trustProxy, listen, announce, bulk, dht, bootstrap } = flags
  const { site, region, logLevel } = flags
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new FeedmeshError('BAD_INPUT', '--tls-cert and --tls-key go together')
  const config: Partial<Config> = {
    ...(http === undefined ? {} : { http }),
    ...(tlsCert === undefined ? {} : { tlsCert: resolve(tlsCert) }),
    ...(tlsKey === undefined ? {} : { tlsKey: resolve(tlsKey) }),
    ...(trustProxy === undefined ? {} : { trustProxy }),
    ...(listen === undefined ? {} : { listen }),
    ...(announce === undefined ? {} : { announce }),
    ...(bulk === undefined ? {} : { bulk: bulk === 'off' ? null : bulk }),
    ...(dht === undefined ? {} : { dht }),
    ...(bootstrap === undefined ? {} : { bootstrap, dht: true }),
    ...(site === undefined ? {} : { site }),
    ...(region === undefined ? {} : { region }),
    ...(logLevel === undefined ? {} : { logLevel }),
  }
  parseConfig(config, 'the options given')
  return config
}
