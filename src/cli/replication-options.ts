/** Options that `replication add` and `replication edit` share. */

import { type Command, Option } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { NewReplication } from '../http/operations.ts'
import { parseDuration } from './units.ts'

export interface SharedOptions {
  readonly token?: string
  readonly url?: string
  readonly address?: string[]
  readonly availability?: 'full' | 'on-demand'
  readonly include?: string[]
  readonly exclude?: string[]
  readonly deletes?: 'follow' | 'keep'
  readonly every?: string
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
    .option('--every <duration>', 'how often to look for changes, such as 60s')
}

export type SharedFields = Pick<
  NewReplication,
  'token' | 'url' | 'addresses' | 'availability' | 'include' | 'exclude' | 'deletes' | 'everyMs'
>

/** @throws BAD_INPUT */
export function parseShared(options: SharedOptions): SharedFields {
  const { token, url, address, availability, include, exclude, deletes, every } = options
  return {
    ...(token === undefined ? {} : { token }),
    ...(url === undefined ? {} : { url }),
    ...(address === undefined ? {} : { addresses: address }),
    ...(availability === undefined ? {} : { availability }),
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(deletes === undefined ? {} : { deletes }),
    ...(every === undefined ? {} : { everyMs: parseDuration(every, '--every') }),
  }
}

/** `LOCAL` or `LOCAL=REMOTE`. @throws BAD_INPUT */
export function parseFeedPair(text: string): { readonly local: string; readonly remote?: string } {
  const [local = '', remote, ...rest] = text.split('=')
  if (local === '' || remote === '' || rest.length > 0)
    throw new FeedmeshError('BAD_INPUT', `--feed ${JSON.stringify(text)} is neither NAME nor NAME=REMOTE`)
  return remote === undefined ? { local } : { local, remote }
}
