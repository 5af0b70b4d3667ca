/** What an operator chooses for a replication, beside what it ties together. */

import type { NewReplication } from './operations.ts'

export interface ReplicationLimits {
  /** On demand: bytes of fetched files that are kept; null: as the disk allows. */
  readonly quotaBytes: number | null
  /** On demand: items whose files are brought ahead of any request, and stay. */
  readonly pins: readonly string[]
  /** Bytes a second, each way, with each linked peer; null: as the network allows. */
  readonly maxRate: number | null
  /** When runs by schedule may be under way, such as `22:00-06:00`, local time; null: always. */
  readonly window: string | null
}

/** What is not named stays. */
export type ReplicationChanges = Partial<
  Omit<
    NewReplication,
    'feeds' | 'communication' | 'mode' | 'peers' | 'scope' | 'mayExtend' | 'relay' | 'tokenExpiresInMs' | 'tokenUses'
  >
>
