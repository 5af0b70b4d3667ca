/**
 * OpenPGP keys of signed indexes. The private halves are files of the data folder (0600), named by fingerprint; the public
 * halves are in the charters of the feeds.
 *
 * Version 4 keys of RSA: what gpgv, apt, rpm, dnf and zypper of every age verify.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  armor,
  createCleartextMessage,
  createMessage,
  enums,
  generateKey,
  type PrivateKey,
  readKey,
  readPrivateKey,
  sign,
} from 'openpgp'
import type { Charter } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import type { SignatureFile } from '../feeds/signed-index.ts'
import { replaceFile } from '../store/durable-file.ts'
import { makeFolder } from '../store/folders.ts'

export const OPENPGP_KIND = 'openpgp'
export type IndexKey = Charter['indexKeys'][number]

/** A signature says when it was made; a verifier whose clock is a little behind must not take it for one of the future. */
const BACKDATE_MS = 60_000

export interface IndexSigner {
  sign(text: Uint8Array, kind: SignatureFile['kind'], nowMs: number): Promise<Uint8Array>
}

export interface IndexKeysOptions {
  /** Folder of the private halves; made when it is needed. */
  readonly folder: string
  /** Unix time, ms. */
  readonly now: () => number
  /** RSA, except in tests that make many keys. */
  readonly algorithm?: 'rsa' | 'ed25519'
}

export class IndexKeys {
  readonly #options: IndexKeysOptions

  constructor(options: IndexKeysOptions) {
    this.#options = options
  }

  /** Makes a key and stores its private half. */
  async create(feedName: string): Promise<IndexKey> {
    const { folder, now, algorithm = 'rsa' } = this.#options
    const { privateKey, publicKey } = await generateKey({
      ...(algorithm === 'rsa' ? { type: 'rsa', rsaBits: 3072 } : { type: 'ecc', curve: 'ed25519Legacy' }),
      userIDs: [{ name: `Signed index of feed ${feedName}`, email: 'index@feed.invalid' }],
      subkeys: [],
      date: new Date(now() - BACKDATE_MS),
      format: 'object',
    })
    await makeFolder(folder)
    const path = this.#path(publicKey.getFingerprint())
    await replaceFile(path, privateKey.armor())
    return { kind: OPENPGP_KIND, key: publicKey.write() }
  }

  /** The newest of the keys whose private half is here. */
  async findSigner(keys: readonly IndexKey[]): Promise<IndexSigner | undefined> {
    const armored = await this.#findPrivate(keys)
    if (armored === undefined) return undefined
    return createSigner(await readPrivateKey({ armoredKey: armored }))
  }

  /** The armored private half. @throws NOT_FOUND */
  async export(keys: readonly IndexKey[]): Promise<string> {
    const armored = await this.#findPrivate(keys)
    if (armored !== undefined) return armored
    throw new FeedmeshError('NOT_FOUND', 'the private index key of this feed is not on this node')
  }

  async #findPrivate(keys: readonly IndexKey[]): Promise<string | undefined> {
    for (const { kind, key } of keys) {
      if (kind !== OPENPGP_KIND) continue
      const publicKey = await readKey({ binaryKey: key })
      const armored = await readIfThere(this.#path(publicKey.getFingerprint()))
      if (armored !== undefined) return armored
    }
    return undefined
  }

  #path(fingerprint: string): string {
    return join(this.#options.folder, `${fingerprint}.asc`)
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export function createSigner(key: PrivateKey): IndexSigner {
  return {
    async sign(text, kind, nowMs) {
      // A clock that was put back since the key was made must not keep the feed from being signed.
      const date = new Date(Math.max(nowMs - BACKDATE_MS, key.getCreationTime().getTime()))
      const config = { preferredHashAlgorithm: enums.hash.sha512, nonDeterministicSignaturesViaNotation: false }
      if (kind === 'clear') {
        const message = await createCleartextMessage({ text: Buffer.from(text).toString('utf8') })
        const signed = await sign({ message, signingKeys: key, date, config })
        return Buffer.from(withLineFeeds(signed))
      }
      const message = await createMessage({ binary: text, format: 'binary' })
      const signature = await sign({ message, signingKeys: key, detached: true, date, config, format: 'armored' })
      return Buffer.from(withLineFeeds(signature as string))
    },
  }
}

function withLineFeeds(armored: string): string {
  return armored.replaceAll('\r\n', '\n')
}

/** Fingerprints in upper-case hex, as key tools print them. */
export async function listFingerprints(keys: readonly IndexKey[]): Promise<string[]> {
  const fingerprints: string[] = []
  for (const { kind, key } of keys)
    if (kind === OPENPGP_KIND) fingerprints.push((await readKey({ binaryKey: key })).getFingerprint().toUpperCase())
  return fingerprints
}

/** All keys in one block, which key tools import as one file. */
export function armorPublicKeys(keys: readonly IndexKey[]): string {
  const packets = keys.filter(({ kind }) => kind === OPENPGP_KIND).map(({ key }) => key)
  if (packets.length === 0) throw new FeedmeshError('NOT_FOUND', 'the feed has no index key')
  // Older gpg takes no block without a checksum.
  return withLineFeeds(armor(enums.armor.publicKey, Buffer.concat(packets), undefined, undefined, undefined, true))
}
