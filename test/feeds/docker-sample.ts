import type { FeedTypeSample } from '../conformance/feed-type.ts'
import { INDEX_TYPE, layoutMembers, makeIndex, makeTar } from '../support/oci-image.ts'

/** An index that names nothing: the one kind of item that a single request publishes. */
export async function createDockerSample(): Promise<FeedTypeSample> {
  const annotations = { 'org.example.home': 'http://publisher.invalid/', filler: 'x'.repeat(300) }
  const image = makeIndex([], { annotations })
  const script = makeIndex([], { annotations: { '<script>alert(1)</script>': '<img src=x onerror=alert(1)>' } })
  const put = (path: string, payload: Buffer | string = image.bytes, contentType = INDEX_TYPE) =>
    ({ method: 'PUT', url: path, payload, headers: { 'content-type': contentType } }) as const
  const zeros = '0'.repeat(64)
  const badNames = [
    'a//b',
    'A',
    'a%2fb',
    'a%2f..',
    'a%2f%2e%2e%2fb',
    'a_',
    '-a',
    'a%00',
    'a%0ab',
    `a/${'b'.repeat(256)}`,
    'ä',
    'a___b',
  ]
  const badTags = ['-x', '.x', 'x'.repeat(129), 'a%2fb', 'a%20b', '%00', 'ä']
  return {
    content: image.bytes,
    publish: put('/tools/app/manifests/v1'),
    index: ['/tools/app/tags/list', `/tools/app/referrers/${image.digest}`],
    artifact: '/tools/app/manifests/v1',
    missing: [
      '/tools/app/manifests/v2',
      `/tools/app/manifests/sha256:${zeros}`,
      `/tools/app/blobs/sha256:${zeros}`,
      '/tools/other/tags/list',
      '/tools/other/manifests/v1',
    ],
    hostile: [
      ...badNames.map((name) => put(`/${name}/manifests/v1`)),
      ...badNames.map((name) => ({ method: 'POST', url: `/${name}/blobs/uploads/` }) as const),
      ...badTags.map((tag) => put(`/a/manifests/${tag}`)),
      put('/manifests/v1'),
      { method: 'DELETE', url: '/a/manifests/..%2f..' },
      { method: 'GET', url: `/a/blobs/sha256:${'g'.repeat(64)}` },
      { method: 'GET', url: '/a/blobs/..%2f..%2fetc' },
    ],
    broken: [
      put('/a/manifests/v1', 'x'),
      put('/a/manifests/v1', ''),
      put('/a/manifests/v1', '[]'),
      put('/a/manifests/v1', Buffer.from([0x7b, 0xff, 0x7d])),
      put('/a/manifests/v1', image.bytes.subarray(0, 100)),
      put('/a/manifests/v1', image.bytes, 'application/vnd.oci.image.manifest.v1+json'),
      put('/a/manifests/v1', image.bytes, 'not a type'),
      put(`/a/manifests/sha256:${zeros}`),
      put(`/a/manifests/md5:${'0'.repeat(32)}`),
      { ...put('/a/manifests/v1'), headers: { 'content-type': INDEX_TYPE, 'content-encoding': 'gzip' } },
      { method: 'POST', url: `/a/blobs/uploads/?digest=sha256:${zeros}`, payload: 'x' },
      { method: 'POST', url: `/a/blobs/uploads/?digest=md5:${'0'.repeat(32)}`, payload: 'x' },
      { method: 'POST', url: '/a/blobs/uploads/?digest-algorithm=md5' },
    ],
    script: { publish: put('/x/manifests/v1', script.bytes), pages: ['/x/manifests/v1', '/x/tags/list'] },
    file: {
      name: 'app.tar',
      unit: 'tools/app',
      item: 'tools/app:v1',
      content: await makeTar(
        layoutMembers([image], [{ image, annotations: { 'org.opencontainers.image.ref.name': 'tools/app:v1' } }]),
      ),
    },
  }
}
