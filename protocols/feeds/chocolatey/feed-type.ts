/** The feed type `chocolatey`: packages and protocol are NuGet's, the client is choco. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { nugetFeedType } from '../nuget/feed-type.ts'

export const chocolateyFeedType: FeedType = {
  ...nugetFeedType,
  name: 'chocolatey',
  clientSetup: (url) => [
    {
      client: 'choco',
      lines: [
        `choco source add --name=feedmesh --source=${url}/ --user=api --password=API-KEY`,
        `choco apikey add --source=${url}/ --key=API-KEY`,
        `choco push FILE.nupkg --source=${url}/${url.startsWith('http:') ? ' --force' : ''}`,
        'choco install ID --source=feedmesh',
      ],
    },
  ],
}
