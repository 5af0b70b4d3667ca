/** What an operator chooses for a feed. */

import type { UnsignedPolicy } from '../feeds/feed.ts'

export interface NewFeed {
  readonly name: string
  readonly type: string
  readonly publicRead: boolean
  /** For types whose packages carry signatures; `accept` unless told. */
  readonly unsigned?: UnsignedPolicy
}

export type FeedChanges = Required<Pick<NewFeed, 'unsigned'>>
