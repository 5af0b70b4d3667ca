/** What a node consists of below everything else, and the stores that hold its data. */

import { randomBytes } from 'node:crypto'
import type { FeedId } from './catalog/charter.ts'
import type { Config } from './config.ts'
import { dataPaths } from './data-folder.ts'
import type { ReachFaultPoint } from './fault-points.ts'
import { openFloor } from './ledger/floor.ts'
import { Ledger } from './ledger/ledger.ts'
import type { Log } from './log.ts'
import type { Identity } from './network/identity.ts'
import { elapsedMs, setUnrefTimer } from './network/timers.ts'
import { ApiKeys } from './operations/access.ts'
import { AuditLog } from './operations/audit.ts'
import { Essentials } from './operations/essentials.ts'
import { findRebuiltAt, rebuildLostRecords } from './operations/lost-records.ts'
import { Book } from './replication/book.ts'
import { CatchUp } from './replication/catch-up.ts'
import { LinkPolicy } from './replication/link-policy.ts'
import { Presence } from './replication/presence.ts'
import { RunLog } from './replication/runs.ts'
import { openFileBlobs } from './store/file-blobs.ts'
import { openLevelRecords } from './store/level-records.ts'
import { watchRecords } from './store/watched-records.ts'
import { BUILD_TIME_MS } from './version.ts'

export interface Base {
  readonly directory: string
  readonly identity: Identity
  readonly config: Config
  readonly log: Log
  readonly reach: ReachFaultPoint
  readonly now: () => number
  /** Says what was stored a moment ago, also when somebody sets the clock. */
  readonly blobClock: () => number
}

/** Everything that holds the node's data. */
export async function openStores(directory: string, base: Base, stack: AsyncDisposableStack) {
  const paths = dataPaths(directory)
  const { reach, log, now, identity, config } = base
  const database = stack.use(await openLevelRecords({ directory: paths.records, reach, log }))
  const floor = await openFloor(paths.floor, reach)
  const warn = (details: object, message: string) => log.warn(details, message)
  await rebuildLostRecords({ records: database, path: paths.essentials, floor, now, warn })
  let essentials: Essentials | undefined
  const records = watchRecords(database, (writes) => essentials?.note(writes))
  const blobs = await openFileBlobs({ directory: paths.blobs, records: database, reach, log, now: base.blobClock })
  const signer = { publicKey: identity.publicKey, sign: (message: Uint8Array) => identity.sign(message) }
  const book = await Book.open(records)
  const presence = new Presence(now, {
    buildTimeMs: BUILD_TIME_MS,
    elapsedMs,
    isLinked: (peer) => book.linksWith(peer).length > 0,
    isProven: (peer) => policy.isProven(peer),
  })
  const catchUp = await CatchUp.open(records, floor)
  const verifyMaySign = (feedId: FeedId, beginning?: 'beginning') => {
    presence.verifyMaySign()
    if (beginning === undefined) catchUp.verifyCaughtUp(feedId, { registry: ledger.registry, book })
  }
  const ledger: Ledger = await Ledger.open({
    records,
    blobs,
    floor,
    signer,
    now,
    randomBytes,
    reach,
    verifyMaySign,
  })
  const setTimer = setUnrefTimer
  essentials = stack.use(await Essentials.open({ path: paths.essentials, records: database, ledger, setTimer, warn }))
  const access = await ApiKeys.open(records, now, randomBytes)
  const runs = await RunLog.open(records, now)
  const place = { site: config.site, region: config.region }
  const policy: LinkPolicy = new LinkPolicy({
    book,
    registry: ledger.registry,
    presence,
    signer,
    now,
    randomBytes,
    place,
  })
  const opened = { records, blobs, floor, presence, signer, ledger, access, runs, book, policy, catchUp }
  return { ...opened, rebuiltAt: await findRebuiltAt(records), audit: new AuditLog(records, now), now }
}

export type Stores = Awaited<ReturnType<typeof openStores>>
