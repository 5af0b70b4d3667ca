/** The feed type `debian`. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { parsePackageKey } from './format.ts'
import { packagesIndex } from './packages-index.ts'
import { publishNativeFile } from './publish.ts'
import { registerDebianRoutes } from './routes.ts'

export const debianFeedType: FeedType = {
  name: 'debian',
  mount: 'debian',
  routes: registerDebianRoutes,
  index: packagesIndex,
  publishFile: publishNativeFile,
  itemName(unit, key) {
    const about = parsePackageKey(key)
    return about === undefined ? undefined : `${unit}@${about.version}/${about.architecture}`
  },
  clientSetup(url) {
    const { origin, host, pathname } = new URL(url)
    const name = pathname.slice(pathname.lastIndexOf('/') + 1)
    const keyring = `/etc/apt/keyrings/${name}.asc`
    return [
      {
        client: 'apt',
        lines: [
          `curl -f -u api:API-KEY -o ${keyring} ${url}/keys/${name}.asc`,
          `echo 'machine ${origin} login api password API-KEY' > /etc/apt/auth.conf.d/${name}.conf`,
          `echo 'deb [signed-by=${keyring}] ${url} stable main' > /etc/apt/sources.list.d/${name}.list`,
        ],
      },
      {
        client: 'curl',
        lines: [
          `curl -fT FILE.deb -u api:API-KEY ${url}/pool/stable/main/`,
          `curl -fX DELETE -u api:API-KEY ${url}/pool/stable/main/…/FILE.deb`,
        ],
      },
      {
        client: 'dput (~/.dput.cf)',
        lines: [
          `[${name}]`,
          `fqdn = ${url.replace(host, `api:API-KEY@${host}`)}`,
          'method = http',
          'incoming = /',
          'allow_unsigned_uploads = 1',
        ],
      },
    ]
  },
}
