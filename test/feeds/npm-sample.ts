import { gzipSync } from 'node:zlib'
import type { FeedTypeSample } from '../conformance/feed-type.ts'
import { createPublishBody, createTar, createTarball } from './npm-package.ts'

const NAME = '@acme/lib'
const VERSION = '1.2.3'
const HOSTILE_NAMES = [
  '..%2fx',
  '%2e%2e',
  '.hidden',
  '_private',
  '-dash',
  'Upper',
  'node_modules',
  'fs',
  'a%20b',
  'a%00b',
  'a!b',
  '@%2fx',
  '@a%2f..',
  '@a%2fb%2fc',
  'x'.repeat(215),
  'a%5cb',
  'caf%C3%A9',
]

function put(url: string, payload: string | object) {
  return { method: 'PUT', url, payload, headers: { 'content-type': 'application/json' } } as const
}

export async function createNpmSample(): Promise<FeedTypeSample> {
  const content = await createTarball({ name: NAME, version: VERSION })
  return {
    content,
    publish: put('/@acme%2flib', await createPublishBody({ name: NAME, version: VERSION })),
    index: [
      '/@acme%2flib',
      '/@acme/lib',
      '/@acme%2Flib',
      '/@acme/lib/latest',
      '/@acme/lib/1.2.3',
      '/-/package/@acme%2flib/dist-tags',
      '/-/v1/search?text=lib',
    ],
    artifact: '/@acme/lib/-/lib-1.2.3.tgz',
    missing: [
      '/other',
      '/@acme/other',
      '/@acme/lib/9.9.9',
      '/@acme/lib/-/lib-9.9.9.tgz',
      '/@acme/lib/-/other-1.2.3.tgz',
      '/-/package/other/dist-tags',
      '/@acme',
      '/-/no/such',
    ],
    hostile: await createHostile(),
    broken: await createBroken(),
    script: {
      publish: put(
        '/evil',
        await createPublishBody({
          name: 'evil',
          version: '1.0.0',
          manifest: { description: '<script>alert(1)</script>', keywords: ['<b>'] },
        }),
      ),
      pages: ['/evil', '/evil/latest', '/-/v1/search?text=evil', '/evil/-/evil-1.0.0.tgz'],
    },
    file: { name: 'acme-lib-1.2.3.tgz', unit: NAME, item: `${NAME}@${VERSION}` },
  }
}

async function createHostile(): Promise<FeedTypeSample['hostile']> {
  const writes = HOSTILE_NAMES.map(async (encoded) => {
    const name = decodeURIComponent(encoded)
    return put(`/${encoded}`, await createPublishBody({ name, version: VERSION }))
  })
  const reads = HOSTILE_NAMES.map((encoded) => ({ method: 'GET', url: `/${encoded}` }) as const)
  return [...(await Promise.all(writes)), ...reads]
}

async function createBroken(): Promise<FeedTypeSample['broken']> {
  const url = '/@acme%2flib'
  const good = await createPublishBody({ name: NAME, version: VERSION })
  const withTarball = async (tarball: Buffer) =>
    put(url, await createPublishBody({ name: NAME, version: VERSION, tarball }))
  const withEntry = async (name: string) =>
    withTarball(await createTarball({ name: NAME, version: VERSION, files: [{ name, content: 'x' }] }))
  const versions = good.versions as Record<string, Record<string, unknown>>
  const withDist = (dist: object) => put(url, { ...good, versions: { [VERSION]: { ...versions[VERSION], dist } } })
  const attachments = good._attachments as Record<string, Record<string, unknown>>
  const [attachment] = Object.values(attachments)
  return [
    put(url, ''),
    put(url, '[]'),
    put(url, JSON.stringify(good).slice(0, -50)),
    put(url, { ...good, name: 'other', _id: 'other' }),
    put(url, { ...good, versions: {} }),
    put(url, { ...good, versions: { ...versions, '2.0.0': { name: NAME, version: '2.0.0' } } }),
    put(url, { ...good, versions: { 'not-semver': { ...versions[VERSION], version: 'not-semver' } } }),
    put(url, { ...good, 'dist-tags': { '1.x': VERSION } }),
    put(url, { ...good, 'dist-tags': { latest: '9.9.9' } }),
    put(url, { ...good, _attachments: {} }),
    put(url, { ...good, _attachments: { 'a.tgz': attachment, 'b.tgz': attachment } }),
    put(url, { ...good, _attachments: { 'a.sigstore': attachment } }),
    put(url, { ...good, _attachments: { 'a.tgz': { data: 'not base64!' } } }),
    withDist({ shasum: '0'.repeat(40) }),
    withDist({ integrity: `sha512-${Buffer.alloc(64).toString('base64')}` }),
    await withTarball(Buffer.from('not a tarball')),
    await withTarball(gzipSync(await createTar([{ name: 'package/index.js', content: 'x' }]))),
    await withTarball(await createTarball({ name: '@acme/other', version: VERSION })),
    await withTarball(await createTarball({ name: NAME, version: '1.2.4' })),
    await withEntry('../../escape'),
    await withEntry('/etc/cron.d/x'),
  ]
}
