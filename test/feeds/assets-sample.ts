import type { FeedTypeSample } from '../conformance/feed-type.ts'

export async function createAssetsSample(): Promise<FeedTypeSample> {
  const content = Buffer.from(Array.from({ length: 5000 }, (_value, at) => (at * 31) % 256))
  const put = (path: string, payload: Buffer | string = content, headers: Record<string, string> = {}) =>
    ({ method: 'PUT', url: `/content/${path}`, payload, headers }) as const
  // Segments ".." in the clear never leave a URL parser; assets.test.ts sends them over a socket.
  const bad = ['a//b', 'a%2f..%2fx', 'a%2f.%2fx', 'a%5cb', 'a%00b', 'a%0ab', 'a%7fb', 'a%2f%2fb', '', 'a/']
  const hostile = [...bad, 'x'.repeat(1025), `a/${'y'.repeat(1100)}`, '%f4%8f%bf%bf']
  return {
    content,
    publish: put('tools/app/setup.bin'),
    index: ['/content/tools/app/', '/dir/tools', '/dir?recursive=true', '/metadata/tools/app/setup.bin'],
    artifact: '/content/tools/app/setup.bin',
    missing: [
      '/content/tools/app/other.bin',
      '/content/nowhere/',
      '/dir/nowhere',
      '/metadata/nowhere',
      '/content/tools/app/setup.bin/x',
    ],
    hostile: [
      ...hostile.map((path) => put(path)),
      ...hostile.filter((path) => path !== '').map((path) => ({ method: 'DELETE', url: `/content/${path}` }) as const),
      { method: 'GET', url: '/dir/a%2f..' },
    ],
    broken: [
      put('a', '--x\r\n', { 'content-type': 'multipart/form-data; boundary=x' }),
      put('a', 'x', { 'content-type': 'not a type' }),
      put('a', 'x', { 'content-encoding': 'gzip' }),
      { ...put('a', 'x'), url: '/content/a?multipart=upload&id=1' },
      { ...put('a', 'x'), url: '/content/a?multipart=complete&id=1' },
      { ...put('a', 'x'), url: '/content/a?multipart=other&id=1' },
      { ...put('a', 'x', { 'if-match': '"x"' }) },
    ],
    script: {
      publish: put('%3Cscript%3E/%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E.html', '<script>alert(1)</script>'),
      pages: [
        '/content/',
        '/content/%3Cscript%3E/',
        '/content/%3Cscript%3E/%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E.html',
        '/content/%3Cb%3E/',
      ],
    },
    file: { name: 'tools/app/setup.bin', unit: 'tools/app/setup.bin', item: 'tools/app/setup.bin' },
  }
}
