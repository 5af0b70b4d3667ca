/** Options that `replication add` and `replication edit` share. */

import { type Command, Option } from 'commander'
import { SERVE_SETTINGS, type ServeSetting } from '../catalog/policy.ts'
import { FeedmeshError } from '../errors.ts'
import type { NewReplication } from '../http/operations.ts'
import { parseBytes, parseDuration, parseRate } from './units.ts'

export interface SharedOptions {
  readonly token?: string
  readonly url?: string
  readonly address?: string[]
  readonly availability?: 'full' | 'on-demand'
  readonly include?: string[]
  readonly exclude?: string[]
  readonly deletes?: 'follow' | 'keep'
  readonly serve?: ServeSetting
  readonly every?: string
  readonly window?: string
  readonly maxRate?: string
  readonly quota?: string
  readonly pin?: string[]
}

export function addSharedOptions(command: Command): Command {
  return command
    .option('--url <url>', 'outgoing: base URL of the other node')
    .option('--address <multiaddr...>', 'outgoing: addresses of the other node, instead of a URL')
    .addOption(
      new Option('--availability <kind>', 'copy all files, or fetch each when it is first asked for').choices([
        'full',
        'on-demand',
      ]),
    )
    .option('--include <glob...>', 'bring only these packages or paths')
    .option('--exclude <glob...>', 'do not bring these')
    .addOption(new Option('--deletes <kind>', 'whether deletes of the source are followed').choices(['follow', 'keep']))
    .addOption(
      new Option(
        '--serve <whom>',
        'who may fetch files here without a link: nodes of this site, region, any, none',
      ).choices([...SERVE_SETTINGS]),
    )
    .option('--every <duration>', 'how often to look for changes, such as 60s')
    .option('--window <from-to>', 'when scheduled runs may be under way, such as 22:00-06:00 (local time), or always')
    .option('--max-rate <rate>', 'the most to send and to receive, such as 20MiB/s, or none')
    .option('--quota <size>', 'on-demand: how much of what was fetched is kept, such as 10GiB, or none')
    .option('--pin <glob...>', 'on-demand: bring these ahead of any request, and keep them; - for none')
}

type LimitFields = 'window' | 'maxRate' | 'quotaBytes' | 'pins'

export type SharedFields = Pick<
  NewReplication,
  'token' | 'url' | 'addresses' | 'availability' | 'include' | 'exclude' | 'deletes' | 'serve' | 'everyMs' | LimitFields
>

/** @throws BAD_INPUT */
export function parseShared(options: SharedOptions): SharedFields {
  const { token, url, address, availability, include, exclude, deletes, serve, every } = options
  return {
    ...(token === undefined ? {} : { token }),
    ...(url === undefined ? {} : { url }),
    ...(address === undefined ? {} : { addresses: address }),
    ...(availability === undefined ? {} : { availability }),
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(deletes === undefined ? {} : { deletes }),
    ...(serve === undefined ? {} : { serve }),
    ...(every === undefined ? {} : { everyMs: parseDuration(every, '--every') }),
    ...parseLimits(options),
  }
}

/** @throws BAD_INPUT */
function parseLimits({ window, maxRate, quota, pin }: SharedOptions): Pick<NewReplication, LimitFields> {
  return {
    ...(window === undefined ? {} : { window: window === 'always' ? null : window }),
    ...(maxRate === undefined ? {} : { maxRate: parseMaxRate(maxRate) }),
    ...(quota === undefined ? {} : { quotaBytes: quota === 'none' ? null : parseBytes(quota, '--quota') }),
    ...(pin === undefined ? {} : { pins: pin.filter((glob) => glob !== '-') }),
  }
}

/** null for `none`. @throws BAD_INPUT */
export function parseMaxRate(text: string): number | null {
  return text === 'none' ? null : parseRate(text, '--max-rate')
}

/** `LOCAL` or `LOCAL=REMOTE`. @throws BAD_INPUT */
export function parseFeedPair(text: string): { readonly local: string; readonly remote?: string } {
  const [local = '', remote, ...rest] = text.split('=')
  if (local === '' || remote === '' || rest.length > 0)
    throw new FeedmeshError('BAD_INPUT', `--feed ${JSON.stringify(text)} is neither NAME nor NAME=REMOTE`)
  return remote === undefined ? { local } : { local, remote }
}
