/** The feed type `rpm`. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { parsePackageKey } from './format.ts'
import { publishNativeFile } from './publish.ts'
import { repodataIndex } from './repodata.ts'
import { registerRpmRoutes } from './routes.ts'

export const rpmFeedType: FeedType = {
  name: 'rpm',
  mount: 'rpm',
  routes: registerRpmRoutes,
  index: repodataIndex,
  hasPackageSignatures: true,
  publishFile: publishNativeFile,
  itemName(unit, key) {
    const about = parsePackageKey(unit, key)
    if (about === undefined) return undefined
    const epoch = about.epoch === 0 ? '' : `${about.epoch}:`
    return `${unit}@${epoch}${about.version}-${about.release}.${about.arch}`
  },
  clientSetup(url) {
    const { host, pathname } = new URL(url)
    const name = pathname.slice(pathname.lastIndexOf('/') + 1)
    const repository = (...more: readonly string[]) => [
      `[${name}]`,
      `name=${name}`,
      `baseurl=${url}/`,
      'enabled=1',
      'repo_gpgcheck=1',
      'gpgcheck=0',
      `gpgkey=${url}/repodata/repomd.xml.key`,
      ...more,
    ]
    return [
      { client: `dnf (/etc/yum.repos.d/${name}.repo)`, lines: repository('username=api', 'password=API-KEY') },
      {
        client: `zypper (/etc/zypp/repos.d/${name}.repo)`,
        lines: repository('type=rpm-md').map((line) => line.replace(`//${host}`, `//api:API-KEY@${host}`)),
      },
      {
        client: 'curl',
        lines: [
          `curl -fT FILE.rpm -u api:API-KEY ${url}/packages/`,
          `curl -fX DELETE -u api:API-KEY ${url}/packages/FILE.rpm`,
        ],
      },
    ]
  },
}
