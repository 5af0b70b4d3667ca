/** The mode table: which pairs of ends may link, and what each end signs for the other. Pure. */

import { FeedmeshError } from '../errors.ts'
import type { Inclusion } from './charter.ts'
import type { Verb } from './grant.ts'

export const COMMUNICATION_MODES = ['incoming', 'outgoing'] as const
export type CommunicationMode = (typeof COMMUNICATION_MODES)[number]
export const REPLICATION_MODES = ['push', 'pull', 'mirror'] as const
export type ReplicationMode = (typeof REPLICATION_MODES)[number]

export interface ReplicationEnd {
  readonly communication: CommunicationMode
  readonly mode: ReplicationMode
}

/** For whom a node reads blobs out beside the peers that it is linked with. */
export const SERVE_SETTINGS = ['site', 'region', 'any', 'none'] as const
export type ServeSetting = (typeof SERVE_SETTINGS)[number]

const COMPLEMENT: Readonly<Record<ReplicationMode, ReplicationMode>> = { push: 'pull', pull: 'push', mirror: 'mirror' }

export function complementOf(mode: ReplicationMode): ReplicationMode {
  return COMPLEMENT[mode]
}

/** Whether content flows to this end. */
export function isReceiving(mode: ReplicationMode): boolean {
  return mode !== 'push'
}

/** Whether content flows from this end. */
export function isSending(mode: ReplicationMode): boolean {
  return mode !== 'pull'
}

/**
 * @throws MODE_MISMATCH with the sentence that mends it, from the point of view of `here`
 */
export function verifyPair(here: ReplicationEnd, there: ReplicationEnd): void {
  if (here.communication === there.communication) {
    const other = here.communication === 'incoming' ? 'outgoing' : 'incoming'
    throw new FeedmeshError(
      'MODE_MISMATCH',
      `both ends are ${here.communication}: one end must be incoming and one outgoing; make this end's replication --${other}`,
    )
  }
  const needed = complementOf(here.mode)
  if (there.mode !== needed) {
    throw new FeedmeshError(
      'MODE_MISMATCH',
      `this end is ${here.communication} ${here.mode}, the other end ${there.communication} ${there.mode}: ` +
        `change the other end to --mode ${needed}, or this end to --mode ${complementOf(there.mode)}`,
    )
  }
}

/**
 * What `here` signs for the other end on its feed. A pulling end that dials an incoming push signs nothing: they accept it.
 */
export function grantedVerbs(here: ReplicationEnd): readonly Verb[] {
  if (here.mode === 'mirror') return ['read', 'offer']
  if (here.mode === 'push') return ['read']
  return here.communication === 'incoming' ? ['offer'] : []
}

/** How the receiving end's feed includes the sending end's. `scope` globs only where content is offered to it. */
export function inclusionFor(
  here: ReplicationEnd,
  options: { readonly feedId: Uint8Array; readonly scope: readonly string[]; readonly mayExtend: boolean },
): Inclusion {
  const offered = here.mode === 'pull' && here.communication === 'incoming'
  const trusted = offered ? 0 : 1
  return {
    feedId: options.feedId,
    rank: here.mode === 'mirror' ? 'beside' : offered ? 'below' : 'above',
    scope: options.scope,
    rights: { mayDelete: trusted, mayTag: trusted, mayExtend: offered && !options.mayExtend ? 0 : 1 },
    through: offered ? 0 : 4,
  }
}

/** Labels of where a node stands; empty: it does not say. */
export interface Place {
  readonly site: string
  readonly region: string
}

export function isSameSite(a: Place, b: Place): boolean {
  return a.site !== '' && a.site === b.site
}

export function isSameRegion(a: Place, b: Place): boolean {
  return a.region !== '' && a.region === b.region
}

/** Whether a node at `own` with this setting serves a peer at `asker`. Labels are what nodes say of themselves: a habit, no secrecy. */
export function isServed(serve: ServeSetting, own: Place, asker: Place): boolean {
  if (serve === 'none' || serve === 'any') return serve === 'any'
  return isSameSite(own, asker) || (serve === 'region' && isSameRegion(own, asker))
}
