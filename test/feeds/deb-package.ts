/** Debian packages made in memory, well-formed or not. */

import { execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import { gzip, zstdCompress } from 'node:zlib'
import { pack } from 'tar-stream'

export interface DebFile {
  readonly name: string
  readonly content?: string | Buffer
  readonly type?: 'file' | 'symlink' | 'link' | 'directory'
  readonly linkname?: string
}

export interface DebOptions {
  readonly name?: string
  readonly version?: string
  readonly architecture?: string
  /** Further lines of the control file. */
  readonly fields?: readonly string[]
  /** The whole control file, instead. */
  readonly control?: string
  readonly files?: readonly DebFile[]
  readonly packing?: 'gz' | 'zst' | ''
  /** Packs with `xz --check=…` instead, which has to be there. */
  readonly xzCheck?: string
}

export async function createTar(files: readonly DebFile[]): Promise<Buffer> {
  const tar = pack()
  const pieces: Buffer[] = []
  const done = (async () => {
    for await (const piece of tar) pieces.push(piece as Buffer)
  })()
  for (const { name, content = '', type = 'file', linkname } of files)
    tar.entry({ name, type, mtime: new Date(0), ...(linkname === undefined ? {} : { linkname }) }, content)
  tar.finalize()
  await done
  return Buffer.concat(pieces)
}

/** A tar of so many files without content, in no time. */
export function createEmptyFiles(count: number): Buffer {
  const tar = Buffer.alloc((count + 2) * 512)
  const empty = Buffer.alloc(512)
  empty.write('0000644\u00000000000\u00000000000\u000000000000000\u000000000000000\u0000        0', 100, 'latin1')
  empty.write('ustar\u000000', 257, 'latin1')
  const emptySum = empty.reduce((total, byte) => total + byte, 0)
  for (let at = 0; at < count; at += 1) {
    const header = tar.subarray(at * 512, (at + 1) * 512)
    header.set(empty)
    const length = header.write(`./f/${at}`)
    let sum = emptySum
    for (let place = 0; place < length; place += 1) sum += header[place] ?? 0
    header.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1')
  }
  return tar
}

export function createAr(members: readonly { readonly name: string; readonly content: Buffer }[]): Buffer {
  const parts = [Buffer.from('!<arch>\n')]
  for (const { name, content } of members) {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}`
    const head = Buffer.from(`${header}${String(content.length).padEnd(10)}\`\n`)
    parts.push(head, Buffer.from(content))
    if (content.length % 2 === 1) parts.push(Buffer.from('\n'))
  }
  return Buffer.concat(parts)
}

export function packXz(content: Buffer, ...options: readonly string[]): Buffer {
  return execFileSync('xz', ['--stdout', ...options], { input: content, maxBuffer: 64 * 1024 ** 2 })
}

async function compress(content: Buffer, { packing = 'gz', xzCheck }: DebOptions): Promise<Buffer> {
  if (xzCheck !== undefined) return packXz(content, `--check=${xzCheck}`)
  if (packing === 'gz') return await promisify(gzip)(content)
  return packing === 'zst' ? await promisify(zstdCompress)(content) : content
}

export function renderControl({ name = 'tool', version = '1.0-1', architecture = 'amd64', fields = [] }: DebOptions) {
  const lines = [
    `Package: ${name}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    'Maintainer: Some Body <some@body.invalid>',
    ...fields,
    'Description: does something',
    ' In more than one line.',
    ' .',
    ' And a second paragraph.',
  ]
  return `${lines.join('\n')}\n`
}

export async function createDeb(options: DebOptions = {}): Promise<Buffer> {
  const { control = renderControl(options), packing = 'gz', xzCheck, name = 'tool' } = options
  const files = options.files ?? [
    { name: './', type: 'directory' },
    { name: './usr/', type: 'directory' },
    { name: './usr/share/', type: 'directory' },
    { name: `./usr/share/${name}`, content: Buffer.alloc(8000, `${name} ${options.version}`) },
  ]
  const suffix = xzCheck === undefined ? packing && `.${packing}` : '.xz'
  const controlTar = await createTar([
    { name: './', type: 'directory' },
    { name: './control', content: control },
  ])
  return createAr([
    { name: 'debian-binary', content: Buffer.from('2.0\n') },
    { name: `control.tar${suffix}`, content: await compress(controlTar, options) },
    { name: `data.tar${suffix}`, content: await compress(await createTar(files), options) },
  ])
}
