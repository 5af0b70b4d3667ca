/** `feedmesh replication add` */

import { type Command, Option } from 'commander'
import type { ReplicationMode } from '../catalog/policy.ts'
import { FeedmeshError } from '../errors.ts'
import type { NewReplication, ReplicationCreated } from '../http/operations.ts'
import { type Act, type CommandLine, readSecret } from './context.ts'
import { addSharedOptions, parseFeedPair, parseShared, type SharedOptions } from './replication-options.ts'
import { withSuggestion } from './suggest.ts'
import { parseCount, parseDuration } from './units.ts'

interface AddOptions extends SharedOptions {
  readonly feed: string[]
  readonly incoming?: boolean
  readonly outgoing?: boolean
  readonly mode: ReplicationMode
  readonly peer?: string[]
  readonly scope?: string[]
  readonly mayExtend?: boolean
  readonly relay: boolean
  readonly tokenExpires?: string
  readonly tokenUses?: string
}

export function registerReplicationAdd(replication: Command, act: Act): void {
  const command = replication
    .command('add')
    .description('add a replication; an incoming one prints its token and join code, once')
    .requiredOption('--feed <feed...>', 'local feeds; NAME=REMOTE where the feed at the other end must be named')
    .option('--incoming', 'other nodes connect to this one')
    .addOption(new Option('--outgoing', 'this node connects to the other').conflicts('incoming'))
    .addOption(
      new Option('--mode <mode>', 'which way content goes, seen from here')
        .choices(['push', 'pull', 'mirror'])
        .makeOptionMandatory(),
    )
    .option('--token <token>', 'incoming: new makes one; outgoing: the token of the other end, or - to read it')
    .option('--peer <peerid...>', 'nodes that may link, instead of a token')
  addSharedOptions(command)
    .option('--scope <glob...>', 'incoming pull: what others may send')
    .option('--may-extend', 'incoming pull: others may add versions to packages of this node')
    .option('--no-relay', 'do not pass on to third nodes')
    .option('--token-expires <duration>', 'how long the token may be used to link, such as 7d')
    .option('--token-uses <count>', 'how many nodes may link with the token')
    .action(
      act<[], AddOptions>(async ({ openApi, output, line }, _, options) => {
        const wanted = await parseReplication(options, line)
        using api = await openApi()
        const name = wanted.feeds[0]?.local ?? ''
        const created = await withSuggestion(api, { named: 'feed', name }, () =>
          api.post<ReplicationCreated>('/replications', wanted),
        )
        output.document(created, () => renderCreated(created, wanted))
      }),
    )
}

/** @throws BAD_INPUT */
async function parseReplication(options: AddOptions, line: CommandLine): Promise<NewReplication> {
  const { feed, incoming, outgoing, mode, token, peer, scope, mayExtend, relay, tokenExpires, tokenUses } = options
  if (incoming !== true && outgoing !== true)
    throw new FeedmeshError('BAD_INPUT', 'who connects? Say --incoming (other nodes do) or --outgoing (this node does)')
  const shared = parseShared(token === undefined ? options : { ...options, token: await readSecret(token, line) })
  return {
    feeds: feed.map(parseFeedPair),
    communication: incoming === true ? 'incoming' : 'outgoing',
    mode,
    ...shared,
    ...(peer === undefined ? {} : { peers: peer }),
    ...(scope === undefined ? {} : { scope }),
    ...(mayExtend === undefined ? {} : { mayExtend }),
    ...(relay ? {} : { relay }),
    ...(tokenExpires === undefined ? {} : { tokenExpiresInMs: parseDuration(tokenExpires, '--token-expires') }),
    ...(tokenUses === undefined ? {} : { tokenUses: parseCount(tokenUses, '--token-uses') }),
  }
}

function renderCreated({ id, token, joinCode }: ReplicationCreated, { communication }: NewReplication): string {
  const lines = [`Replication ${id} is added.`]
  if (token !== undefined) lines.push('', 'Token (shown this once):', token)
  if (joinCode !== undefined)
    lines.push('', 'Join code (shown this once); at the other node run:', `feedmesh join ${joinCode}`)
  if (communication === 'outgoing') lines.push(`Run it now: feedmesh replication run ${id} --wait`)
  return lines.join('\n')
}
