import type { FeedTypeSample } from '../conformance/feed-type.ts'
import { createNuspec, createPackage, createZip } from './nuget-package.ts'

const BOUNDARY = '-----------------------8d1f'

/** As nuget.exe sends it; with `newline` as the end of the part. */
export function createForm(content: Buffer, newline = '\r\n'): { payload: Buffer; headers: Record<string, string> } {
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="package"; filename="package.nupkg"\r\nContent-Type: application/octet-stream\r\n\r\n`
  return {
    payload: Buffer.concat([Buffer.from(head), content, Buffer.from(`${newline}--${BOUNDARY}--\r\n`)]),
    headers: { 'content-type': `multipart/form-data; boundary="${BOUNDARY}"` },
  }
}

export async function createNugetSample(): Promise<FeedTypeSample> {
  const text = '<title>x</title><projectUrl>http://docs.invalid/</projectUrl>'
  const content = createPackage({ id: 'Acme.Lib', version: '1.02', more: text })
  const push = (file: Buffer) => ({ method: 'PUT', url: '/api/v2/package/', ...createForm(file) }) as const
  const named = (id: string, version = '1.0') =>
    push(createZip([{ name: 'a.nuspec', content: createNuspec({ id, version }) }]))
  const script = '&lt;script&gt;alert(1)&lt;/script&gt;'
  return {
    content,
    publish: push(content),
    index: [
      '/v3/index.json',
      '/v3/flat/acme.lib/index.json',
      '/v3/flat/acme.lib/1.2.0/acme.lib.nuspec',
      '/v3/registration/acme.lib/index.json',
      '/v3/registration-semver2/acme.lib/1.2.0.json',
      '/v3/query?q=acme',
      '/v3/autocomplete?q=ac',
      '/',
      '/$metadata',
      '/Packages()',
      "/FindPackagesById()?id='acme.lib'",
      "/Packages(Id='acme.lib',Version='1.2')",
    ],
    artifact: '/v3/flat/acme.lib/1.2.0/acme.lib.1.2.0.nupkg',
    missing: [
      '/v3/flat/other/index.json',
      '/v3/flat/acme.lib/9.9.9/acme.lib.9.9.9.nupkg',
      '/v3/flat/acme.lib/1.2.0/other.1.2.0.nupkg',
      '/v3/registration/other/index.json',
      '/v3/registration/acme.lib/9.9.9.json',
      '/v3/registration/acme.lib/page/8.0.0/9.0.0.json',
      '/package/acme.lib/9.9.9',
      '/package/other/1.0.0',
      '/v3/nothing',
      "/Packages(Id='other',Version='1.0')",
      '/Nothing()',
    ],
    hostile: [
      ...['../x', 'a/b', 'a b', '', 'a..b', '.', 'x'.repeat(101), 'a\u0000b', 'a&lt;b'].map((id) => named(id)),
      ...['../1', '1/2', '', 'latest', '1.0-a/b', '99999999999.0'].map((version) => named('a', version)),
      push(createPackage({ id: 'a', version: '1.0', members: [{ name: '../evil', content: 'x' }] })),
      { method: 'DELETE', url: '/api/v2/package/..%2f..%2fx/1.0' },
      { method: 'DELETE', url: '/api/v2/package/a/..%2f1' },
    ],
    broken: [
      { method: 'PUT', url: '/', payload: '' },
      { method: 'PUT', url: '/', payload: 'not a zip' },
      { ...push(content), payload: createForm(content).payload.subarray(0, -60) },
      { ...push(content), headers: { 'content-type': 'multipart/form-data' } },
      { ...push(content), headers: { 'content-type': 'multipart/form-data; boundary=other' } },
      push(content.subarray(0, content.length - 40)),
      push(Buffer.from('PK\x03\x04 and then nothing of a zip')),
      push(createZip([{ name: 'readme.txt', content: 'x' }])),
      push(createZip([{ name: 'a.nuspec', content: '<package><metadata><id>a</id>' }])),
      { ...push(content), url: '/v3/symbolpackage' },
    ],
    script: {
      publish: push(
        createPackage({ id: 'acme.script', version: '1.0', description: script, more: `<title>${script}</title>` }),
      ),
      pages: [
        '/v3/query',
        '/Packages()',
        '/',
        "/Packages(Id='%3Cscript%3E',Version='1.0')",
        '/v3/registration/acme.script/index.json',
        '/v3/flat/acme.script/1.0.0/acme.script.nuspec',
        '/v3/flat/acme.script/1.0.0/acme.script.1.0.0.nupkg',
      ],
    },
    file: { name: 'Acme.Lib.1.2.0.nupkg', unit: 'acme.lib', item: 'acme.lib@1.2.0' },
  }
}
