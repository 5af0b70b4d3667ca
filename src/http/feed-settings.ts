/** What an operator chooses for a feed. */

import type { UnsignedPolicy } from '../feeds/feed.ts'

export interface NewFeed {
  readonly name: string
  readonly type: string
  readonly publicRead: boolean
  /** For types whose packages carry signatures; `accept` unless told. */
  readonly unsigned?: UnsignedPolicy
}

/** What is not named stays. */
export interface FeedChanges {
  readonly unsigned?: UnsignedPolicy
  /** Bytes a second of the feed's files, each way, with all peers together; null: as the network allows. */
  readonly maxRate?: number | null
}
