/** The feed type `npm`. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { findPackageKey } from './format.ts'
import { publishTarball } from './publish.ts'
import { registerNpmRoutes } from './routes.ts'

export const npmFeedType: FeedType = {
  name: 'npm',
  mount: 'npm',
  routes: registerNpmRoutes,
  publishFile: publishTarball,
  itemName(unit, key) {
    const about = findPackageKey(key)
    return about?.kind === 'version' ? `${unit}@${about.name}` : undefined
  },
  clientSetup(url) {
    const registry = `${url}/`
    const scheme = registry.replace(/^https?:/, '')
    const host = new URL(registry).hostname
    const token = [`registry=${registry}`, `${scheme}:_authToken=API-KEY`]
    return [
      { client: 'npm, pnpm (.npmrc)', lines: token },
      { client: 'yarn 1 (.npmrc)', lines: [...token, 'always-auth=true'] },
      {
        client: 'yarn 4 (.yarnrc.yml)',
        lines: [
          `npmRegistryServer: "${registry}"`,
          'npmAuthToken: "API-KEY"',
          ...(registry.startsWith('http:') ? [`unsafeHttpWhitelist: ["${host}"]`] : []),
        ],
      },
      { client: 'bun (bunfig.toml)', lines: ['[install]', `registry = { url = "${registry}", token = "API-KEY" }`] },
      { client: 'deno (.npmrc)', lines: token },
    ]
  },
}
