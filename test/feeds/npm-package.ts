/** npm packages made in memory. */

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

export interface TarEntry {
  readonly name: string
  readonly content?: string | Buffer
  readonly type?: 'file' | 'symlink' | 'link' | 'directory'
  readonly linkname?: string
}

export async function createTar(entries: readonly TarEntry[]): Promise<Buffer> {
  const tar = pack()
  for (const { name, content = '', type = 'file', linkname } of entries) {
    tar.entry({ name, type, ...(linkname === undefined ? {} : { linkname }) }, content)
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

export interface PackageOptions {
  readonly name: string
  readonly version: string
  readonly manifest?: Readonly<Record<string, unknown>>
  readonly files?: readonly TarEntry[]
}

export async function createTarball({ name, version, manifest = {}, files = [] }: PackageOptions): Promise<Buffer> {
  const packageJson = JSON.stringify({ name, version, ...manifest })
  const entries = [{ name: 'package/package.json', content: packageJson }, ...files]
  return gzipSync(await createTar(entries))
}

/** The body of `npm publish`. */
export async function createPublishBody(
  options: PackageOptions & { readonly tag?: string; readonly tarball?: Buffer },
): Promise<Record<string, unknown>> {
  const { name, version, manifest = {}, tag = 'latest' } = options
  const tarball = options.tarball ?? (await createTarball(options))
  const hashed = (algorithm: string, encoding: 'hex' | 'base64') =>
    createHash(algorithm).update(tarball).digest(encoding)
  const dist = {
    integrity: `sha512-${hashed('sha512', 'base64')}`,
    shasum: hashed('sha1', 'hex'),
    tarball: `http://publisher.invalid/${name}/-/${name}-${version}.tgz`,
  }
  return {
    _id: name,
    name,
    'dist-tags': { [tag]: version },
    access: null,
    versions: { [version]: { name, version, ...manifest, _id: `${name}@${version}`, dist } },
    _attachments: {
      [`${name}-${version}.tgz`]: {
        content_type: 'application/octet-stream',
        data: tarball.toString('base64'),
        length: tarball.length,
      },
    },
  }
}
