/**
 * `essentials.bin`: what of a node no peer can give back, in a file outside the database. Local feeds with their settings,
 * replications, links, tokens, API keys (their hashes), the charters of the feeds made here, and the last state of those that
 * have no rows. Nothing in it is more secret than what the database holds.
 *
 *   magic  (kind(1) keyLength(4) key valueLength(4) value)*  sha256 over all before it
 *   kind 0  a record, as it is in the database
 *   kind 1  a charter of a feed made here: key = feedId, value = envelope; oldest first
 *   kind 2  the state of a feed made here that has no rows: key = feedId, value = CBOR
 */

import { readFile } from 'node:fs/promises'
import { sha256 } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import { u32 } from '../store/keys.ts'

export type EssentialKind = 'record' | 'charter' | 'state'

export interface Essential {
  readonly kind: EssentialKind
  readonly key: Uint8Array
  readonly value: Uint8Array
}

const MAGIC = Buffer.from('feedmesh essentials 1\n')
const KINDS: readonly EssentialKind[] = ['record', 'charter', 'state']
const CHECKSUM_BYTES = 32

export function encodeEssentials(all: Iterable<Essential>): Buffer {
  const parts: Uint8Array[] = [MAGIC]
  for (const { kind, key, value } of all)
    parts.push(Uint8Array.of(KINDS.indexOf(kind)), u32(key.length), key, u32(value.length), value)
  const body = Buffer.concat(parts)
  return Buffer.concat([body, sha256(body)])
}

class EssentialsReader {
  readonly #body: Buffer
  #at = MAGIC.length

  constructor(body: Buffer) {
    this.#body = body
  }

  #take(size: number): Buffer {
    const end = this.#at + size
    if (end > this.#body.length) throw new RangeError('an entry is cut off')
    const bytes = this.#body.subarray(this.#at, end)
    this.#at = end
    return bytes
  }

  *entries(): Generator<Essential> {
    while (this.#at < this.#body.length) {
      const kind = KINDS[this.#take(1).readUInt8()]
      if (kind === undefined) throw new RangeError('an entry of an unknown kind')
      const key = this.#take(this.#take(4).readUInt32BE())
      yield { kind, key, value: this.#take(this.#take(4).readUInt32BE()) }
    }
  }
}

export function decodeEssentials(bytes: Buffer, path: string): Essential[] {
  try {
    const body = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES))
    if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw new RangeError('it does not begin as one')
    if (!sha256(body).equals(bytes.subarray(body.length))) throw new RangeError('the checksum is another')
    return [...new EssentialsReader(body).entries()]
  } catch (cause) {
    throw new FeedmeshError(
      'CORRUPT',
      `${path} cannot be read, and the database is lost: restore the data folder from a backup, or remove the file and link the feeds again`,
      { cause },
    )
  }
}

/** undefined without a file. @throws CORRUPT */
export async function readEssentials(path: string): Promise<Essential[] | undefined> {
  try {
    return decodeEssentials(await readFile(path), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
