/** The feed type `assets`. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { CONTENT_KEY } from './format.ts'
import { registerAssetRoutes } from './routes.ts'
import { publishAsset } from './store-asset.ts'

export const assetsFeedType: FeedType = {
  name: 'assets',
  mount: 'endpoints',
  routes: registerAssetRoutes,
  publishFile: publishAsset,
  itemName: (unit, key) => (key === CONTENT_KEY ? unit : undefined),
  clientSetup: (url) => [
    {
      client: 'curl',
      lines: [
        `curl -fT FILE -u api:API-KEY ${url}/content/FOLDER/FILE`,
        `curl -fO -C - -u api:API-KEY ${url}/content/FOLDER/FILE`,
        `curl -f -u api:API-KEY ${url}/dir/FOLDER`,
        `curl -fX DELETE -u api:API-KEY ${url}/content/FOLDER/FILE`,
      ],
    },
    { client: 'wget', lines: [`wget -c --auth-no-challenge --user=api --password=API-KEY ${url}/content/FOLDER/FILE`] },
  ],
}
