/** The one list of feed types. Adding a type = one folder + one line here. */

import type { FeedType } from '../../src/feeds/feed-type.ts'
import { assetsFeedType } from './assets/feed-type.ts'
import { npmFeedType } from './npm/feed-type.ts'

export const FEED_TYPES: readonly FeedType[] = [npmFeedType, assetsFeedType]
