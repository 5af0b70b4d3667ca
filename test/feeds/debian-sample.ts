/** One Debian package for the conformance suite of feed types. */

import type { FeedTypeSample } from '../conformance/feed-type.ts'
import { createAr, createDeb, createTar, renderControl } from './deb-package.ts'

export async function createDebianSample(): Promise<FeedTypeSample> {
  // Does not shrink below the limits that the suite sets.
  const noise = Buffer.from(Array.from({ length: 40_000 }, (_, at) => (at * 7919 + (at >> 3) * 104_729) & 0xff))
  const content = await createDeb({
    name: 'lib-tool',
    files: [{ name: './usr/share/noise', content: noise }],
    packing: '',
  })
  const name = 'lib-tool_1.0-1_amd64.deb'
  const put = (url: string, payload: Buffer) => ({ method: 'PUT', url, payload }) as const
  const scripted = await createDeb({
    name: 'script',
    fields: ['Homepage: https://publisher.invalid/<script>alert(1)</script>'],
  })
  const artifact = `/pool/stable/main/lib-/lib-tool/${name}`
  const truncated = content.subarray(0, content.length - 2000)
  const evil = await createDeb({ name: 'lib-tool', files: [{ name: './../../etc/passwd', content: 'x' }] })
  const data = { name: 'data.tar', content: await createTar([]) }
  const twoParagraphs = { control: `${renderControl({ name: 'lib-tool' })}\nPackage: other\n` }
  return {
    content,
    publish: put(`/pool/stable/main/${name}`, content),
    index: [
      '/dists/stable/InRelease',
      '/dists/stable/Release',
      '/dists/stable/main/binary-amd64/Packages',
      '/dists/stable/main/binary-amd64/Packages.gz',
      '/keys/main.asc',
    ],
    artifact,
    missing: [
      '/dists/other/InRelease',
      '/dists/stable/main/binary-amd64/Packages.xz',
      `/dists/stable/main/binary-amd64/by-hash/SHA256/${'0'.repeat(64)}`,
      '/pool/stable/main/o/other/other_1.0_amd64.deb',
      '/keys/other.asc',
    ],
    hostile: [
      put(`/pool/../main/${name}`, content),
      put(`/pool/stable/%2e%2e/${name}`, content),
      put('/pool/stable/main/..%2flib-tool_1.0-1_amd64.deb', content),
      put(`/pool/%00/main/${name}`, content),
      { method: 'GET', url: '/pool/stable/main/../../../etc/passwd' },
      { method: 'GET', url: '/dists/..%2f..%2f/InRelease' },
      { method: 'DELETE', url: '/pool/stable/main/l/x/%2e%2e' },
    ],
    broken: [
      put(`/pool/stable/main/${name}`, Buffer.from('this is no archive at all')),
      put(`/pool/stable/main/${name}`, Buffer.alloc(0)),
      put(`/pool/stable/main/${name}`, truncated),
      put('/pool/stable/main/lib-tool_2.0_amd64.deb', content),
      put('/pool/stable/main/lib-tool_1.0-1_arm64.deb', content),
      put(`/pool/stable/main/${name}`, evil),
      put(`/pool/stable/main/${name}`, await createDeb(twoParagraphs)),
      put(`/pool/stable/main/${name}`, createAr([{ name: 'debian-binary', content: Buffer.from('2.0\n') }, data])),
      put('/pool/stable/main/lib-tool.dsc', Buffer.from('Format: 3.0 (quilt)\n')),
      put('/lib-tool.changes', Buffer.from('not a changes file')),
    ],
    script: {
      publish: put('/script_1.0-1_amd64.deb?suite=stable', scripted),
      pages: ['/dists/stable/main/binary-amd64/Packages', '/pool/stable/main/s/script/script_1.0-1_amd64.deb'],
    },
    file: { name, unit: 'lib-tool', item: 'lib-tool@1.0-1/amd64' },
  }
}
