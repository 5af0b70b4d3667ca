/**
 * Reads a .deb while it is being stored: an ar archive of debian-binary, control.tar and data.tar. Nothing is unpacked to disk;
 * bytes are only looked at. https://manpages.debian.org/deb.5
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { ByteReader } from '../byte-reader.ts'
import { type TarMember, TarScanner } from '../tar-scanner.ts'
import { PACKINGS, type Packing, type UnpackLimits, unpack } from '../unpack.ts'
import { MAX_CONTROL_BYTES, type PackageControl, parseControl } from './control.ts'

export interface DebLimits {
  readonly maxFiles: number
  readonly data: UnpackLimits
}

export const DEB_LIMITS: DebLimits = {
  maxFiles: 99_999,
  // Debug symbols of large programs unpack to several GiB; a run of zeros packs about 1:7000 with xz.
  data: { maxBytes: 16 * 1024 ** 3, maxRatio: 250 },
}

/** Maintainer scripts and lists beside the control file. */
const CONTROL_LIMITS: DebLimits = { maxFiles: 1000, data: { maxBytes: 64 * 1024 ** 2, maxRatio: 250 } }

const AR_MAGIC = '!<arch>\n'
const AR_HEADER_BYTES = 60
/** Members beside the three, such as signatures. */
const MAX_AR_MEMBERS = 16

function bad(reason: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the file is not a Debian package that can be trusted: ${reason}`)
}

interface ArMember {
  readonly name: string
  readonly size: number
}

function parseArHeader(header: Buffer): ArMember {
  const text = header.toString('latin1')
  const size = text.slice(48, 58).trimEnd()
  if (text.slice(58) !== '`\n' || !/^\d{1,10}$/.test(size)) throw bad('a member of the archive has no proper header')
  return { name: text.slice(0, 16).trimEnd().replace(/\/$/, ''), size: Number(size) }
}

async function* takeMember(reader: ByteReader, { size }: ArMember): AsyncGenerator<Buffer> {
  yield* reader.take(size)
}

/** The packing of `control.tar…` or `data.tar…`; undefined for another member. */
function findPacking(name: string, base: string): Packing | undefined {
  if (!name.startsWith(base)) return undefined
  const suffix = name.slice(base.length).replace(/^\./, '')
  const packing = PACKINGS.find((candidate) => candidate === suffix)
  if (packing === undefined)
    throw bad(`${JSON.stringify(name)} is packed in a way that is not supported; use gz, xz or zst`)
  return packing
}

/**
 * Reads all of `source`.
 * @throws BAD_PACKAGE; what `source` throws
 */
export async function readDeb(
  source: AsyncIterable<Uint8Array>,
  limits: DebLimits = DEB_LIMITS,
): Promise<PackageControl> {
  using reader = new ByteReader(source)
  if ((await reader.read(AR_MAGIC.length)).toString('latin1') !== AR_MAGIC) throw bad('it is no ar archive')
  let control: PackageControl | undefined
  let hasData = false
  for (let at = 0; !(await reader.isAtEnd()); at += 1) {
    if (at >= MAX_AR_MEMBERS) throw bad(`it has more than ${MAX_AR_MEMBERS} members`)
    const member = parseArHeader(await reader.read(AR_HEADER_BYTES))
    const end = reader.position + member.size
    if (at === 0) await verifyFormat(reader, member)
    else if (member.name.startsWith('control.tar')) {
      if (control !== undefined || hasData) throw bad('control data is not where it belongs')
      control = await readControl(reader, member)
    } else if (member.name.startsWith('data.tar')) {
      if (control === undefined || hasData) throw bad('data is not where it belongs')
      await scanData(reader, member, limits)
      hasData = true
    } else if (!member.name.startsWith('_')) throw bad(`it has the member ${JSON.stringify(member.name)}`)
    await skipTo(reader, end + (member.size % 2))
  }
  if (control === undefined || !hasData) throw bad('it has no control data or no data')
  return control
}

async function verifyFormat(reader: ByteReader, member: ArMember): Promise<void> {
  const isFormat = member.name === 'debian-binary' && member.size < 100
  const text = isFormat ? (await reader.read(member.size)).toString('latin1') : ''
  if (!/^2\.\d+\n/.test(text)) throw bad('it is not of format 2')
}

async function skipTo(reader: ByteReader, end: number): Promise<void> {
  // The last member may lack its padding.
  while (reader.position < end && !(await reader.isAtEnd())) await reader.read(Math.min(end - reader.position, 65_536))
}

async function readControl(reader: ByteReader, member: ArMember): Promise<PackageControl> {
  let found: string | undefined
  const scanner = new TarScanner({
    maxMembers: CONTROL_LIMITS.maxFiles,
    isEndNeeded: true,
    onMember(tar) {
      verifyPath(tar)
      if (plainName(tar.name) !== 'control') return 0
      if (found !== undefined || tar.type !== 'file' || tar.size === 0) throw bad('its control file is not one file')
      return MAX_CONTROL_BYTES
    },
    onContent(_tar, content) {
      found = decodeText(content)
    },
  })
  const packing = findPacking(member.name, 'control.tar') ?? ''
  const options = { subject: 'control.tar', limits: CONTROL_LIMITS.data }
  for await (const piece of unpack(takeMember(reader, member), packing, options)) scanner.push(piece)
  scanner.end()
  if (found === undefined) throw bad('it has no control file')
  return parseControl(found)
}

async function scanData(reader: ByteReader, member: ArMember, limits: DebLimits): Promise<void> {
  const symlinks = new Set<string>()
  const scanner = new TarScanner({
    maxMembers: limits.maxFiles,
    isEndNeeded: true,
    onMember(tar) {
      verifyPath(tar)
      const name = plainName(tar.name)
      for (let slash = name.indexOf('/'); slash !== -1; slash = name.indexOf('/', slash + 1))
        if (symlinks.has(name.slice(0, slash))) throw bad(`${shown(tar.name)} lies behind a link of the package`)
      if (tar.type === 'symlink') symlinks.add(name)
      return 0
    },
    onContent: () => undefined,
  })
  const packing = findPacking(member.name, 'data.tar') ?? ''
  const options = { subject: 'data.tar', limits: limits.data }
  for await (const piece of unpack(takeMember(reader, member), packing, options)) scanner.push(piece)
  scanner.end()
}

function plainName(name: string): string {
  return name.replace(/^\.\//, '').replace(/\/$/, '')
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 200))
}

/** @throws BAD_PACKAGE for names and hard links that would leave the folder a package is unpacked into */
function verifyPath({ name, type, linkName }: TarMember): void {
  for (const path of type === 'link' ? [name, linkName] : [name])
    if (path.startsWith('/') || path.includes('\0') || path.split('/').includes('..'))
      throw bad(`it has a member with the unsafe name ${shown(path)}`)
}

function decodeText(content: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch (cause) {
    throw new FeedmeshError('BAD_PACKAGE', 'the control data is not UTF-8', { cause })
  }
}
