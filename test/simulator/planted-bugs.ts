/**
 * Ways to break the real code, each one replacement in one of its files as it is loaded. Whoever changes such a place finds
 * here what it is good for; the simulator has to find each of them.
 */

import type { FaultKind, SimulationOptions } from './options.ts'

export interface PlantedBug {
  readonly name: string
  /** Path from the root of the checkout. */
  readonly file: string
  /** Text that is there exactly once. */
  readonly find: string
  readonly replace: string
  /** Faults that meet it soonest. */
  readonly faults: readonly FaultKind[]
  /** Further options that it needs to be met. */
  readonly options?: Partial<SimulationOptions>
  /** It is found within this many seeds from `first` on. */
  readonly seeds: number
  /** 1 unless told; later for what few seeds meet. */
  readonly first?: number
}

const CRASHES = ['killed', 'killed at a fault point', 'power cut'] as const
const LIES = ['relay lies', 'relay serves old heads', 'bits flipped on the wire'] as const

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'the state root is not compared before adoption',
    file: 'src/ledger/adopt.ts',
    find: 'if (!update.root.hash.equals(stateRoot) || update.root.count !== entries) {',
    replace: 'if (update.root.count < 0) {',
    faults: LIES,
    seeds: 40,
  },
  {
    name: 'signatures are not verified',
    file: 'src/catalog/signed.ts',
    find: "    throw new FeedmeshError('FORGED', `the signature of this ${domain} does not verify`)",
    replace: '',
    faults: LIES,
    seeds: 60,
  },
  {
    name: 'memory changes before the batch is on disk',
    file: 'src/ledger/ledger.ts',
    find: '    await this.#views.write(batch, changes, views)',
    replace:
      '    this.registry.apply({ states: changes.map((change) => change.state), views: views.views, units: views.units })\n    await this.#views.write(batch, changes, views)',
    faults: ['disk full', 'disk error'],
    seeds: 60,
  },
  {
    name: 'a publish is acknowledged before it is on disk',
    file: 'src/ledger/ledger.ts',
    find: 'if (drafter.draft.operations.length > 0) await this.#publish(drafter)',
    replace: 'if (drafter.draft.operations.length > 0) this.#publish(drafter).catch(() => {})',
    faults: [...CRASHES, 'disk full', 'disk error'],
    seeds: 20,
  },
  {
    name: 'the disk acknowledges before it has synced',
    file: 'test/simulator/disk.ts',
    find: 'await this.#disk.write(() => image.records.apply(kept))',
    replace:
      'await this.#disk.write(() => { this.#disk.unsynced.push(image.records.apply(kept)); if (this.#disk.unsynced.length > 4) this.#disk.unsynced.shift() })',
    faults: ['power cut'],
    seeds: 20,
  },
  {
    name: 'the floor file is not read at start',
    file: 'test/simulator/disk.ts',
    find: 'super(new Map(disk.image.floor))',
    replace: 'super(new Map())',
    faults: ['records lost'],
    seeds: 20,
  },
  {
    name: 'a head is served before the floor file names it',
    file: 'src/replication/sync-source.ts',
    find: '    await this.#floor.flush()',
    replace: '',
    faults: ['announcement lost', 'disk error'],
    seeds: 20,
  },
  {
    name: 'rows become visible before their files are here',
    file: 'src/replication/pull.ts',
    find: '.filter((file) => all || file.role === META_ROLE)',
    replace: '.filter((file) => file.role === META_ROLE)',
    faults: ['restart'],
    seeds: 20,
  },
  {
    name: 'what is kept of a blob is taken up one byte too early',
    file: 'src/replication/blob-fetch.ts',
    find: 'const from = part.start + offset',
    replace: 'const from = Math.max(0, part.start + offset - 1)',
    faults: ['connection reset', 'killed', 'pair cut'],
    options: { maxContentBytes: 1_000_000, bandwidth: 50 },
    seeds: 20,
  },
  {
    name: 'the digest of a blob is not compared',
    file: 'src/store/staged-content.ts',
    find: 'if (`${algorithm}:${all[algorithm]}` !== wanted) throw this.#mismatch(wanted, `${algorithm}:${all[algorithm]}`)',
    replace: 'if (all[algorithm] === wanted) throw this.#mismatch(wanted, wanted)',
    faults: ['bits flipped on the wire'],
    seeds: 60,
  },
  {
    name: 'gc forgets the rows of feeds of other nodes',
    file: 'src/operations/maintenance.ts',
    find: 'if (!unused.has(feedId)) named.add(file.digest)',
    replace: 'if (this.#isExpected(feedId)) named.add(file.digest)',
    faults: ['restart'],
    seeds: 40,
  },
  {
    name: 'deletions are not taken over',
    file: 'src/ledger/adopt.ts',
    find: '  for (const { unit, key } of received.drops) change(unit, key, undefined)',
    replace: '',
    faults: ['restart'],
    seeds: 20,
  },
  {
    name: 'links are not loaded at start',
    file: 'src/replication/book.ts',
    find: '      await book.links.load(keys.links(), textId)',
    replace: '',
    faults: ['restart', 'killed'],
    seeds: 20,
  },
  {
    name: 'polls go by the clock on the wall',
    file: 'src/replication/replicator.ts',
    find: 'this.#nextPoll.set(link.id, elapsedMs() + everyMs * (1 + JITTER * (2 * random() - 1)))',
    replace:
      'this.#nextPoll.set(link.id, this.#options.now() - 1798761600000 + everyMs * (1 + JITTER * (2 * random() - 1)))',
    faults: ['clock ahead', 'announcement lost', 'announcement late'],
    seeds: 80,
  },
  {
    name: 'a poll that failed is the last one',
    file: 'src/replication/replicator.ts',
    find: 'opens not all that wait for it begin at once.\n    this.#scheduleNext(link)',
    replace: 'opens not all that wait for it begin at once.\n    this.#nextPoll.set(link.id, Number.POSITIVE_INFINITY)',
    faults: ['announcement lost', 'disk error', 'disk full', 'peer stalls in a stream'],
    seeds: 40,
  },
  {
    name: 'a lost connection is not dialled again',
    file: 'src/network/redial.ts',
    find: '    this.#failures = heldMs >= STABLE_MS ? 0 : this.#failures + 1\n    if (!this.#dialling) this.#schedule()',
    replace: '    this.#failures = heldMs >= STABLE_MS ? 0 : this.#failures + 1',
    faults: ['pair cut', 'connection reset', 'partition'],
    seeds: 20,
  },
  {
    name: 'a restored node signs at once',
    file: 'src/replication/catch-up.ts',
    find: '    const open = this.find(feedId, parts)\n    if (open === undefined) return',
    replace: '    const open = this.find(feedId, parts)\n    if (open !== null) return',
    faults: ['backup restored', 'partition'],
    seeds: 40,
  },
  {
    name: 'peers are asked only once what a restored node signed',
    file: 'src/replication/replicator.ts',
    find: 'if (this.#isRecovering) return',
    replace: 'if (JITTER > 0) return',
    faults: ['backup restored', 'disk error', 'disk full', 'peer stalls in a stream', 'slow link'],
    seeds: 100,
  },
  {
    name: 'one’s own past waits for what it depends on',
    file: 'src/replication/pull.ts',
    find: 'absent: this.#isOwnPast ? depsOf(fetched) : this.#absent',
    replace: 'absent: this.#absent',
    faults: ['backup restored'],
    seeds: 100,
  },
  {
    name: 'feeds that depend on each other through one’s own wait for ever',
    file: 'src/replication/heads.ts',
    find: '      if (own !== undefined) follow(own.charter)',
    replace: '',
    faults: ['backup restored'],
    seeds: 150,
  },
  {
    name: 'a state that came late replaces a newer one',
    file: 'src/ledger/ledger.ts',
    find: '          verifyNotOlder(one)',
    replace: '',
    faults: ['backup restored', 'slow link'],
    options: { faultEveryMs: 20_000, latencyMs: 400 },
    first: 300,
    seeds: 50,
  },
  {
    name: 'a clock that is ahead of all peers signs',
    file: 'src/replication/presence.ts',
    find: 'if (aheadMs.length > 0 && aheadMs.every((ms) => ms > MAX_SKEW_MS)) {',
    replace: 'if (aheadMs.length > 1000) {',
    faults: ['clock ahead'],
    seeds: 20,
  },
  {
    name: 'a clock from before the software was made signs',
    file: 'src/replication/presence.ts',
    find: 'if (now < this.#options.buildTimeMs)',
    replace: 'if (now < 0)',
    faults: ['clock behind'],
    seeds: 40,
  },
  {
    name: 'units in memory outlive their change',
    file: 'src/ledger/registry.ts',
    find: '      else this.#units.set(view, unit)',
    replace: '',
    faults: ['restart'],
    seeds: 60,
  },
]

/** Options that make a bug likely to be met: its faults, and nothing that hides it. */
export function focusOn(bug: PlantedBug): Partial<SimulationOptions> {
  return { faults: new Set(bug.faults), faultEveryMs: 60_000, ...bug.options }
}

/** Those that every test run hunts. */
export const QUICKEST: readonly string[] = [
  'the disk acknowledges before it has synced',
  'the floor file is not read at start',
  'signatures are not verified',
  'a publish is acknowledged before it is on disk',
  'a clock that is ahead of all peers signs',
]
