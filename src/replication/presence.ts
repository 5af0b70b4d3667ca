/**
 * What hellos tell of the peers: software, site, clock, and whether two processes run behind one identity.
 *
 * An instance id is random and new with every process. An id that comes back after another one was seen from the same PeerId
 * belongs to a process that never ended: two live processes share the identity, usually because a data folder was copied.
 */

import type { Hello } from '../../protocols/mesh/link/messages.ts'
import { FeedmeshError } from '../errors.ts'

/** A node this far ahead of all peers it has met must not sign, ms. */
export const MAX_SKEW_MS = 5 * 60_000
/** A duplicate counts as gone when only one of the instances was heard for this long, ms. */
const DUPLICATE_CLEAR_MS = 10 * 60_000
/** What a peer said of its clock counts for this long, ms. */
const RECENT_MS = 3_600_000
/** Instances remembered per peer. */
const MAX_INSTANCES = 16

export interface PeerPresence {
  readonly software: string
  readonly site: string
  readonly region: string
  /** Peer's clock minus ours when it said hello, ms. */
  readonly skewMs: number
  readonly heardAt: number
}

interface InstanceHistory {
  readonly instance: string
  /** Instances heard before the present one. */
  readonly earlier: readonly string[]
  readonly duplicateSince: number | undefined
  /** By `elapsedMs`. */
  readonly duplicateHeardAt: number
}

interface Heard extends PeerPresence, InstanceHistory {
  /** `heardAt` by `elapsedMs`. */
  readonly heardAtElapsed: number
  /** Peer's clock when it said hello. */
  readonly clock: number
}

/** One moment, by the clock and by the time that has passed. */
interface Moment {
  readonly now: number
  readonly elapsed: number
}

function followInstance(known: InstanceHistory | undefined, instance: string, at: Moment): InstanceHistory {
  const { now, elapsed } = at
  if (known === undefined) return { instance, earlier: [], duplicateSince: undefined, duplicateHeardAt: elapsed }
  if (known.instance === instance) {
    const isOver = known.duplicateSince !== undefined && elapsed - known.duplicateHeardAt > DUPLICATE_CLEAR_MS
    return isOver ? { ...known, duplicateSince: undefined } : known
  }
  const cameBack = known.earlier.includes(instance)
  return {
    instance,
    earlier: [...known.earlier.filter((id) => id !== instance), known.instance].slice(-MAX_INSTANCES),
    duplicateSince: cameBack ? (known.duplicateSince ?? now) : known.duplicateSince,
    duplicateHeardAt: elapsed,
  }
}

/**
 * Sent by a process before the present one began, and long under way: not a sign of life. Of two live processes at least
 * one comes back with a later clock, however far apart their clocks are.
 */
function isBelated(known: Heard, instance: string, clock: number): boolean {
  return known.instance !== instance && known.earlier.includes(instance) && clock < known.clock
}

export interface PresenceOptions {
  /** Clock below which ours is wrong for certain: when this software was made. */
  readonly buildTimeMs: number
  /** Ms that have passed since some moment, also when somebody sets the clock. */
  elapsedMs(): number
  /** Strangers may say hello too, but only the clocks of linked peers count. */
  isLinked(peer: string): boolean
  /** Whether a peer without a link is to be remembered before strangers are. */
  isProven?(peer: string): boolean
}

/** Strangers remembered; the longest unheard goes first. */
const MAX_STRANGERS = 1000

export class Presence {
  readonly #peers = new Map<string, Heard>()
  readonly #now: () => number
  readonly #options: PresenceOptions
  /** Set when a peer told us that another process answers with our identity. */
  #ownDuplicateAt: Moment | undefined

  constructor(now: () => number, options: PresenceOptions) {
    this.#now = now
    this.#options = options
  }

  #moment(): Moment {
    return { now: this.#now(), elapsed: this.#options.elapsedMs() }
  }

  /** @throws IDENTITY_DUPLICATED when the peer is one of two live processes */
  note(peer: string, hello: Hello): void {
    const at = this.#moment()
    const { now, elapsed } = at
    const { software, site, region } = hello
    const known = this.#peers.get(peer)
    const instance = Buffer.from(hello.instance).toString('hex')
    if (known !== undefined && isBelated(known, instance, hello.clock)) return this.verifyNotDuplicated(peer)
    const said = {
      software,
      site,
      region,
      skewMs: hello.clock - now,
      heardAt: now,
      heardAtElapsed: elapsed,
      clock: hello.clock,
    }
    const history = followInstance(known, instance, at)
    // The history of an instance that is known is all that was known; what is said now stands above it.
    this.#peers.set(peer, { ...history, ...said })
    this.#forgetStrangers()
    this.verifyNotDuplicated(peer)
  }

  #forgetStrangers(): void {
    if (this.#peers.size <= MAX_STRANGERS) return
    const strangers = [...this.#peers]
      .filter(([peer]) => !this.#options.isLinked(peer) && this.#options.isProven?.(peer) !== true)
      .sort(([, a], [, b]) => a.heardAtElapsed - b.heardAtElapsed)
    for (const [peer] of strangers.slice(0, this.#peers.size - MAX_STRANGERS)) this.#peers.delete(peer)
  }

  find(peer: string): PeerPresence | undefined {
    return this.#peers.get(peer)
  }

  /** @throws IDENTITY_DUPLICATED */
  verifyNotDuplicated(peer: string): void {
    if (this.#peers.get(peer)?.duplicateSince === undefined) return
    throw new FeedmeshError(
      'IDENTITY_DUPLICATED',
      `two live nodes use the identity ${peer}: a data folder was copied. Stop one of them and run feedmesh init in a new folder there`,
    )
  }

  duplicates(): { readonly peer: string; readonly since: number }[] {
    return [...this.#peers].flatMap(([peer, heard]) =>
      heard.duplicateSince === undefined ? [] : [{ peer, since: heard.duplicateSince }],
    )
  }

  noteOwnDuplicate(): void {
    this.#ownDuplicateAt = this.#moment()
  }

  get ownDuplicateSince(): number | undefined {
    const at = this.#ownDuplicateAt
    return at !== undefined && this.#options.elapsedMs() - at.elapsed < DUPLICATE_CLEAR_MS ? at.now : undefined
  }

  /** Why this node must not sign now, undefined when it may. */
  findClockFault(): string | undefined {
    const { now, elapsed } = this.#moment()
    if (now < this.#options.buildTimeMs)
      return `the clock says ${new Date(now).toISOString()}, which is before this software was made`
    const aheadMs = [...this.#peers].flatMap(([peer, heard]) => {
      const passed = elapsed - heard.heardAtElapsed
      if (passed >= RECENT_MS || !this.#options.isLinked(peer)) return []
      // Who sets the clock after a hello makes what the hello said of it older, not wrong.
      const jumpedMs = now - heard.heardAt - passed
      return [jumpedMs - heard.skewMs]
    })
    if (aheadMs.length > 0 && aheadMs.every((ms) => ms > MAX_SKEW_MS)) {
      const ahead = Math.round(Math.min(...aheadMs) / 60_000)
      return `the clock is ${ahead} minutes ahead of every peer`
    }
    return undefined
  }

  /** @throws MAY_NOT_SIGN, IDENTITY_DUPLICATED */
  verifyMaySign(): void {
    const fault = this.findClockFault()
    if (fault !== undefined)
      throw new FeedmeshError(
        'MAY_NOT_SIGN',
        `this node does not sign: ${fault}; set the clock (for example with systemd-timesyncd or chrony)`,
      )
    if (this.ownDuplicateSince !== undefined) {
      throw new FeedmeshError(
        'IDENTITY_DUPLICATED',
        'another live node uses the identity of this one: a data folder was copied. Stop one of them and run feedmesh init in a new folder there',
      )
    }
  }
}
