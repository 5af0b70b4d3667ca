/** The feed type `docker`: images and everything else that OCI registries hold. */

import type { FeedType } from '../../../src/feeds/feed-type.ts'
import { findRowKey } from './format.ts'
import { publishImageArchive } from './image-archive.ts'
import { registerMountRoutes } from './mount-routes.ts'
import { registerDockerRoutes } from './routes.ts'

export const dockerFeedType: FeedType = {
  name: 'docker',
  mount: 'v2',
  routes: registerDockerRoutes,
  mountRoutes: registerMountRoutes,
  publishFile: publishImageArchive,
  itemName(unit, key) {
    const about = findRowKey(key)
    if (about === undefined) return undefined
    return about.kind === 'tag' ? `${unit}:${about.tag}` : `${unit}@${about.digest}`
  },
  clientSetup(url) {
    const { host, protocol, pathname } = new URL(url)
    const images = `${host}/${pathname.split('/').at(-1)}`
    const plain = protocol === 'http:'
    const noTls = plain ? ' --tls-verify=false' : ''
    const ociPlain = plain ? ' --plain-http' : ''
    return [
      {
        client: 'docker',
        lines: [
          ...(plain ? [`# /etc/docker/daemon.json: {"insecure-registries": ["${host}"]}`] : []),
          `docker login -u api -p API-KEY ${host}`,
          `docker pull ${images}/IMAGE:TAG`,
        ],
      },
      {
        client: 'podman, buildah',
        lines: [`podman login${noTls} -u api -p API-KEY ${host}`, `podman pull${noTls} ${images}/IMAGE:TAG`],
      },
      {
        client: 'skopeo',
        lines: [
          `skopeo login${noTls} -u api -p API-KEY ${host}`,
          `skopeo copy${plain ? ' --dest-tls-verify=false' : ''} oci:FOLDER:TAG docker://${images}/IMAGE:TAG`,
        ],
      },
      { client: 'oras', lines: [`oras push${ociPlain} -u api -p API-KEY ${images}/NAME:TAG FILE`] },
      { client: 'helm', lines: [`helm push${ociPlain} CHART.tgz oci://${images}`] },
    ]
  },
}
