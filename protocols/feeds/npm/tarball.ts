/**
 * Reads a package tarball while it is being stored: a gzip'd tar whose members lie in one folder, `package/` by
 * convention, with the package's package.json at its top. Nothing is unpacked; bytes are only looked at.
 */

import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, gunzipSync } from 'node:zlib'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'
import { type TarMember, TarScanner } from '../tar-scanner.ts'

export interface TarballLimits {
  /** Bytes of the tar inside the gzip. */
  readonly maxUnpackedBytes: number
  readonly maxMembers: number
  readonly maxManifestBytes: number
}

export const TARBALL_LIMITS: TarballLimits = {
  maxUnpackedBytes: 4 * 1024 ** 3, // gzip packs up to 1:1032, so a small upload could keep a core busy for minutes
  maxMembers: 200_000,
  maxManifestBytes: 4 * 1024 ** 2,
}

/** Content of the package.json in the tarball. */
export type PackageJson = Readonly<Record<string, unknown>> & { readonly name: string; readonly version: string }

export interface TarballReader extends Disposable {
  /** Resolves when more may be written. @throws BAD_PACKAGE */
  write(chunk: Uint8Array): Promise<void>
  /** @throws BAD_PACKAGE */
  end(): Promise<PackageJson>
}

/** Tarballs up to this size are unpacked in one call, which costs half of what a stream does. */
const MAX_AT_ONCE_BYTES = 64 * 1024
/** What unpacks to more goes through the stream all the same, so that no upload holds up the others. */
const MAX_UNPACKED_AT_ONCE_BYTES = 1024 ** 2

export function createTarballReader(limits: TarballLimits = TARBALL_LIMITS): TarballReader {
  const scan = new PackageScan(limits)
  let held: Uint8Array[] = []
  let heldBytes = 0
  let stream: GunzipStream | undefined
  const openStream = async (): Promise<GunzipStream> => {
    stream = new GunzipStream(scan)
    const pieces = held
    held = []
    for (const piece of pieces) await stream.write(piece)
    return stream
  }
  return {
    async write(chunk) {
      if (stream === undefined && heldBytes + chunk.length <= MAX_AT_ONCE_BYTES) {
        held.push(chunk)
        heldBytes += chunk.length
        return
      }
      await (stream ?? (await openStream())).write(chunk)
    },
    async end() {
      const whole = stream === undefined ? unpackAtOnce(Buffer.concat(held)) : undefined
      if (whole === undefined) await (stream ?? (await openStream())).end()
      else scan.readWhole(whole)
      return scan.getPackageJson()
    },
    [Symbol.dispose]() {
      stream?.destroy()
    },
  }
}

/** Undefined when it is too large to be unpacked at once. @throws BAD_PACKAGE */
function unpackAtOnce(tarball: Buffer): Buffer | undefined {
  try {
    return gunzipSync(tarball, { maxOutputLength: MAX_UNPACKED_AT_ONCE_BYTES })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return undefined
    throw asBadPackage(error)
  }
}

class GunzipStream {
  readonly #gunzip = createGunzip()
  readonly #reading: Promise<void>

  constructor(scan: PackageScan) {
    this.#reading = pipeline(this.#gunzip, scanPieces(scan)).catch((error: unknown) => {
      throw asBadPackage(error)
    })
    // Whoever writes or ends sees the failure; between two writes nobody waits for it.
    this.#reading.catch(() => undefined)
  }

  async write(chunk: Uint8Array): Promise<void> {
    const gunzip = this.#gunzip
    if (gunzip.destroyed) return this.#reading
    const drained = Promise.withResolvers<void>()
    if (gunzip.write(chunk)) return
    gunzip.once('drain', drained.resolve)
    gunzip.once('close', drained.resolve)
    await drained.promise
    gunzip.off('drain', drained.resolve)
    gunzip.off('close', drained.resolve)
  }

  async end(): Promise<void> {
    this.#gunzip.end()
    await this.#reading
  }

  destroy(): void {
    this.#gunzip.destroy()
  }
}

function scanPieces(scan: PackageScan): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => callBack(() => scan.push(chunk), done),
    final: (done) => callBack(() => scan.end(), done),
  })
}

function callBack(work: () => void, done: (error?: Error) => void): void {
  try {
    work()
  } catch (error) {
    done(error as Error)
    return
  }
  done()
}

/** What the unpacked bytes tell. */
class PackageScan {
  readonly #limits: TarballLimits
  readonly #scanner: TarScanner
  #size = 0
  #manifests = 0
  #found: PackageJson | undefined

  constructor(limits: TarballLimits) {
    this.#limits = limits
    this.#scanner = new TarScanner({
      maxMembers: limits.maxMembers,
      onMember: (member) => this.#wantedBytes(member),
      onContent: (_member, content) => {
        this.#found = parsePackageJson(content)
      },
    })
  }

  #wantedBytes(member: TarMember): number {
    verifyMember(member)
    if (!isManifest(member)) return 0
    this.#manifests += 1
    if (this.#manifests > 1) throw new FeedmeshError('BAD_PACKAGE', 'the tarball has two package.json at its top')
    return this.#limits.maxManifestBytes
  }

  /** @throws BAD_PACKAGE */
  push(chunk: Buffer): void {
    const { maxUnpackedBytes } = this.#limits
    this.#size += chunk.length
    if (this.#size > maxUnpackedBytes) {
      throw new FeedmeshError('BAD_PACKAGE', `the tarball unpacks to more than the ${maxUnpackedBytes} bytes allowed`)
    }
    this.#scanner.push(chunk)
  }

  /** @throws BAD_PACKAGE */
  end(): void {
    this.#scanner.end()
  }

  /** @throws BAD_PACKAGE */
  readWhole(tar: Buffer): void {
    try {
      this.push(tar)
      this.end()
    } catch (error) {
      throw asBadPackage(error)
    }
  }

  /** @throws BAD_PACKAGE */
  getPackageJson(): PackageJson {
    if (this.#found === undefined) throw new FeedmeshError('BAD_PACKAGE', 'the tarball has no package/package.json')
    return this.#found
  }
}

/** @throws BAD_PACKAGE for names that would leave the folder a client unpacks into. */
function verifyMember(member: TarMember): void {
  const name = JSON.stringify(member.name.slice(0, 200))
  const parts = member.name.split('/')
  if (parts.length > 1 && member.type === 'directory' && parts.at(-1) === '') parts.pop()
  // Unpackers differ in what they make of empty and "." segments, so what is checked may not be what they write.
  const isOdd = parts.some((part) => part === '' || part === '.' || part === '..')
  if (isOdd || /^[a-z]:|[\0\\]/i.test(member.name)) {
    throw new FeedmeshError('BAD_PACKAGE', `the tarball has a member with the unsafe name ${name}`)
  }
  if (member.type === 'other')
    throw new FeedmeshError('BAD_PACKAGE', `${name} in the tarball is no file, folder or link`)
  if (member.type !== 'symlink' && member.type !== 'link') return
  // A symlink's target is relative to its folder, a hard link's to the top of the archive.
  const base = member.type === 'symlink' ? parts.slice(0, -1) : []
  if (leaves(base, member.linkName)) {
    throw new FeedmeshError('BAD_PACKAGE', `the link ${name} in the tarball points out of the package`)
  }
}

function leaves(base: readonly string[], target: string): boolean {
  if (target.startsWith('/') || target.includes('\\') || /^[a-z]:/i.test(target)) return true
  const floor = Math.min(base.length, 1)
  let depth = base.length
  for (const part of target.split('/')) {
    if (part === '..') depth -= 1
    else if (part !== '' && part !== '.') depth += 1
    if (depth < floor) return true
  }
  return false
}

/**
 * Clients drop the first folder whatever its name is. Where case does not matter, any spelling would replace the file.
 * @throws BAD_PACKAGE for what a client could take for the package.json, but that is no such file
 */
function isManifest({ name, type }: TarMember): boolean {
  const parts = name.split('/')
  if (parts.length !== 2 || parts[1]?.toLowerCase() !== 'package.json') return false
  if (type === 'file' && parts[1] === 'package.json') return true
  throw new FeedmeshError('BAD_PACKAGE', `the tarball has a ${type} ${JSON.stringify(name.slice(0, 200))} at its top`)
}

function parsePackageJson(bytes: Buffer): PackageJson {
  const hasMark = bytes.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf]))
  const manifest = parseJson(hasMark ? bytes.subarray(3) : bytes, 'package.json in the tarball')
  if (!isObject(manifest) || typeof manifest.name !== 'string' || typeof manifest.version !== 'string') {
    throw new FeedmeshError('BAD_PACKAGE', 'package.json in the tarball has no name and version')
  }
  return manifest as PackageJson
}

function asBadPackage(error: unknown): FeedmeshError {
  if (isFeedmeshError(error, 'BAD_PACKAGE')) return error
  const detail = error instanceof Error ? error.message : 'unreadable'
  return new FeedmeshError('BAD_PACKAGE', `the file is not a package tarball: ${detail}`, { cause: error })
}
