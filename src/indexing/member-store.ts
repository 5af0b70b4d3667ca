/** Members of one index: kept by what is in them, read back in each encoding. */

import { promisify } from 'node:util'
import { constants, gzip, zstdCompress, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import type { FeedId } from '../catalog/charter.ts'
import { digestBytes, sha256 } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { Feed, FeedRow, RowDraft } from '../feeds/feed.ts'
import type { IndexEncoding } from '../feeds/signed-index.ts'
import type { SealedBlob } from '../store/blobs.ts'
import { indexUnit, memberKey } from './generation.ts'

const compressGzip = promisify(gzip)
const compressZstd = promisify(zstdCompress)
const decompressZstd = promisify(zstdDecompress)

const GZIP_LEVEL = 6
const ZSTD_LEVEL = 6
/** A member holds at least one unit, however large that is. */
const MAX_MEMBER_BYTES = 256 * 1024 ** 2
/** What unpacks to no more is unpacked at once, which costs less than handing it to another thread. */
const MAX_AT_ONCE_BYTES = 1024 ** 2
/** What most members unpack into, so that it is one piece. */
const UNPACK_BYTES = 256 * 1024
/** Members that wait for one change at most: about 8 MiB of text. */
const MAX_WAITING = 64

/** Reads rows that one feed has signed itself, whatever others say under its name. */
export interface OwnRows {
  readonly owner: FeedId
  readonly rowsOf: (unit: string) => Promise<readonly FeedRow[]>
}

interface Waiting {
  readonly draft: RowDraft
  readonly forms: Readonly<Record<'gz' | 'zst', Buffer>>
}

async function unpackMember(form: Buffer): Promise<Buffer> {
  try {
    return zstdDecompressSync(form, { maxOutputLength: MAX_AT_ONCE_BYTES, chunkSize: UNPACK_BYTES })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw error
    return await decompressZstd(form, { maxOutputLength: MAX_MEMBER_BYTES })
  }
}

export async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

export async function stageBytes(feed: Feed, bytes: Uint8Array): Promise<SealedBlob> {
  await using staged = await feed.stage({ maxBytes: bytes.length })
  await staged.write(bytes)
  return await staged.seal()
}

/** The form of a member in an encoding. @throws NOT_FOUND */
export async function readMember(feed: Feed, row: FeedRow, encoding: IndexEncoding): Promise<Buffer> {
  const role = encoding === '' ? 'zst' : encoding
  const file = row.files.find((candidate) => candidate.role === role)
  if (file === undefined) throw new FeedmeshError('NOT_FOUND', `a member of a signed index has no ${role} form`)
  const form = await readAll(await feed.open(row, file))
  return encoding === '' ? await unpackMember(form) : form
}

export class MemberStore {
  readonly #feed: Feed
  readonly #rows: OwnRows
  readonly #unit: string
  #known: ReadonlyMap<string, FeedRow>
  readonly #waiting = new Map<string, Waiting>()

  private constructor(feed: Feed, rows: OwnRows, unit: string, known: ReadonlyMap<string, FeedRow>) {
    this.#feed = feed
    this.#rows = rows
    this.#unit = unit
    this.#known = known
  }

  static async open(feed: Feed, rows: OwnRows, index: string): Promise<MemberStore> {
    const unit = indexUnit(index)
    return new MemberStore(feed, rows, unit, await readRows(rows, unit))
  }

  /** Rows that are to be written with the generation that names their members. */
  get drafts(): readonly RowDraft[] {
    return [...this.#waiting.values()].map(({ draft }) => draft)
  }

  /** @returns the id of the member. Many at a time are written right away: nothing shows them yet. */
  async store(bytes: Uint8Array): Promise<Buffer> {
    const [gz, zst] = await Promise.all([
      compressGzip(bytes, { level: GZIP_LEVEL }),
      compressZstd(bytes, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }),
    ])
    const id = sha256(sha256(gz), sha256(zst)).subarray(0, 16)
    const key = memberKey(this.#rows.owner, id)
    if (this.#known.has(key) || this.#waiting.has(key)) return id
    const files = [
      { role: 'gz', blob: await stageBytes(this.#feed, gz) },
      { role: 'zst', blob: await stageBytes(this.#feed, zst) },
    ]
    const draft: RowDraft = { key, rowClass: 'immutable', meta: new Uint8Array(0), files }
    this.#waiting.set(key, { draft, forms: { gz, zst } })
    if (this.#waiting.size >= MAX_WAITING) await this.#writeWaiting()
    return id
  }

  async read(id: Uint8Array, encoding: IndexEncoding): Promise<Buffer> {
    const key = memberKey(this.#rows.owner, id)
    const waiting = this.#waiting.get(key)?.forms
    if (waiting !== undefined && encoding !== '') return waiting[encoding]
    if (waiting !== undefined) return await unpackMember(waiting.zst)
    const row = this.#known.get(key)
    if (row === undefined) throw new FeedmeshError('NOT_FOUND', `a member of ${this.#unit} is not here`)
    return await readMember(this.#feed, row, encoding)
  }

  /** Every form of a member. */
  async readForms(id: Uint8Array): Promise<Readonly<Record<IndexEncoding, Buffer>>> {
    const [gz, zst] = await Promise.all([this.read(id, 'gz'), this.read(id, 'zst')])
    return { gz, zst, '': await unpackMember(zst) }
  }

  async #writeWaiting(): Promise<void> {
    await this.#feed.change(this.#unit, () => ({ put: this.drafts }))
    this.#waiting.clear()
    this.#known = await readRows(this.#rows, this.#unit)
  }
}

async function readRows(rows: OwnRows, unit: string): Promise<ReadonlyMap<string, FeedRow>> {
  return new Map((await rows.rowsOf(unit)).map((row) => [row.key, row]))
}

/** Sizes of a member's forms. */
export function formSize(row: FeedRow, encoding: 'gz' | 'zst'): number {
  return row.files.find(({ role }) => role === encoding)?.size ?? 0
}

/** Digest of a file in hex. */
export function hexOf(row: FeedRow, role: string): string | undefined {
  const file = row.files.find((candidate) => candidate.role === role)
  return file === undefined ? undefined : digestBytes(file.digest).toString('hex')
}
