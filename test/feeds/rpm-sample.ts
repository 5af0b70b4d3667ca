/** One RPM package for the conformance suite of feed types. */

import { TAGS } from '../../protocols/feeds/rpm/tags.ts'
import type { FeedTypeSample } from '../conformance/feed-type.ts'
import { createRpm } from './rpm-package.ts'

export async function createRpmSample(): Promise<FeedTypeSample> {
  // Does not shrink below the limits that the suite sets.
  const noise = Buffer.from(Array.from({ length: 40_000 }, (_, at) => (at * 7919 + (at >> 3) * 104_729) & 0xff))
  const content = await createRpm({
    name: 'lib-tool',
    files: [{ path: '/usr/share/noise', content: noise }],
    packing: '',
  })
  const name = 'lib-tool-1.0-1.noarch.rpm'
  const put = (url: string, payload: Buffer) => ({ method: 'PUT', url, payload }) as const
  const scripted = await createRpm({
    name: 'script',
    summary: '<script>alert(1)</script>',
    header: { [TAGS.url]: 'https://publisher.invalid/<script>alert(1)</script>' },
  })
  const damaged = Buffer.from(content)
  damaged[damaged.length - 100] = (damaged[damaged.length - 100] ?? 0) ^ 1
  const evil = await createRpm({ name: 'lib-tool', files: [{ path: '/usr/../../etc/passwd', content: 'x' }] })
  return {
    content,
    publish: put(`/packages/${name}`, content),
    index: ['/repodata/repomd.xml', '/repodata/repomd.xml.asc', '/repodata/repomd.xml.key'],
    artifact: `/packages/${name}`,
    missing: [
      '/repodata/primary.xml.gz',
      `/repodata/${'0'.repeat(64)}-primary.xml.gz`,
      '/repodata/repomd.xml.old',
      '/media.1/media',
      '/packages/other-1.0-1.noarch.rpm',
      '/packages/epoch-1/lib-tool-1.0-1.noarch.rpm',
    ],
    hostile: [
      put(`/packages/../other/${name}`, content),
      put(`/packages/epoch-x/${name}`, content),
      put('/packages/..%2flib-tool-1.0-1.noarch.rpm', content),
      put(`/%00/${name}`, content),
      { method: 'GET', url: '/packages/../../../etc/passwd' },
      { method: 'GET', url: '/repodata/..%2f..%2frepomd.xml' },
      { method: 'DELETE', url: '/packages/%2e%2e' },
    ],
    broken: [
      put(`/packages/${name}`, Buffer.from('this is no package at all'.repeat(20))),
      put(`/packages/${name}`, Buffer.alloc(0)),
      put(`/packages/${name}`, content.subarray(0, content.length - 2000)),
      put(`/packages/${name}`, content.subarray(0, 700)),
      put(`/packages/${name}`, damaged),
      put('/packages/lib-tool-2.0-1.noarch.rpm', content),
      put('/packages/lib-tool-1.0-1.x86_64.rpm', content),
      put(`/packages/${name}`, evil),
      put('/packages/lib-tool.spec', Buffer.from('Name: lib-tool\n')),
    ],
    script: {
      publish: put('/script-1.0-1.noarch.rpm', scripted),
      pages: ['/repodata/repomd.xml', '/packages/script-1.0-1.noarch.rpm'],
    },
    file: { name, unit: 'lib-tool', item: 'lib-tool@1.0-1.noarch' },
  }
}
