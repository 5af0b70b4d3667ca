/** The one list of feed types. Adding a type = one folder + one line here. */

import type { FeedType } from '../../src/feeds/feed-type.ts'
import { assetsFeedType } from './assets/feed-type.ts'
import { chocolateyFeedType } from './chocolatey/feed-type.ts'
import { debianFeedType } from './debian/feed-type.ts'
import { dockerFeedType } from './docker/feed-type.ts'
import { npmFeedType } from './npm/feed-type.ts'
import { nugetFeedType } from './nuget/feed-type.ts'
import { rpmFeedType } from './rpm/feed-type.ts'

export const FEED_TYPES: readonly FeedType[] = [
  npmFeedType,
  assetsFeedType,
  dockerFeedType,
  debianFeedType,
  rpmFeedType,
  nugetFeedType,
  chocolateyFeedType,
]
