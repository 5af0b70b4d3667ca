/** The feed type `nuget`. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { findPackageKey } from './format.ts'
import { publishFile } from './push.ts'
import { registerNugetRoutes } from './routes.ts'

export const nugetFeedType: FeedType = {
  name: 'nuget',
  mount: 'nuget',
  routes: registerNugetRoutes,
  publishFile,
  itemName: namePackage,
  clientSetup: (url) => [
    {
      client: 'dotnet',
      lines: [
        `dotnet nuget add source ${url}/v3/index.json --name feedmesh --username api --password API-KEY --store-password-in-clear-text${insecure(url)}`,
        'dotnet nuget push FILE.nupkg --source feedmesh --api-key API-KEY',
      ],
    },
    {
      client: 'nuget.exe',
      lines: [
        `nuget sources add -Name feedmesh -Source ${url}/v3/index.json -UserName api -Password API-KEY`,
        'nuget push FILE.nupkg API-KEY -Source feedmesh',
      ],
    },
    {
      client: 'nuget 2.8 (Debian)',
      lines: [
        `nuget sources add -Name feedmesh -Source ${url}/ -UserName api -Password API-KEY`,
        `nuget push FILE.nupkg API-KEY -Source ${url}/`,
      ],
    },
  ],
}

export function namePackage(unit: string, key: string): string | undefined {
  const about = findPackageKey(key)
  if (about?.kind === 'version') return `${unit}@${about.version}`
  return about?.kind === 'symbols' ? `${unit}@${about.version}.snupkg` : undefined
}

/** dotnet from version 9 on refuses sources without TLS. */
function insecure(url: string): string {
  return url.startsWith('http:') ? ' --allow-insecure-connections' : ''
}
