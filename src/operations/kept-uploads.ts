/** Files that were uploaded and that no row names yet: gc spares them for a week. */

import type { Digest } from '../catalog/digest.ts'
import { MAX_UPLOAD_AGE_MS } from '../feeds/feed.ts'
import type { BlobStore } from '../store/blobs.ts'
import { keys, uploadedKeyDigest } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'

const MAX_WRITES = 1000

export interface KeptUploadsOptions {
  readonly records: Records
  readonly blobs: BlobStore
  /** Unix time, ms. */
  readonly nowMs: number
  /** Whether to delete the records of those that are too old. */
  readonly forget: boolean
}

/** Digests of uploaded files and of their chunk lists. */
export async function* keptUploads({ records, blobs, nowMs, forget }: KeptUploadsOptions): AsyncGenerator<Digest> {
  let old: Write[] = []
  const forgetOld = async () => {
    if (forget && old.length > 0) await records.write(old)
    old = []
  }
  for await (const [key, value] of records.scan(keys.allUploaded())) {
    const uploadedAtMs = Number(Buffer.from(value).readBigUInt64BE())
    if (nowMs - uploadedAtMs > MAX_UPLOAD_AGE_MS) {
      old.push({ type: 'del', key })
      if (old.length >= MAX_WRITES) await forgetOld()
      continue
    }
    const digest = uploadedKeyDigest(key)
    yield digest
    const chunkRoot = (await blobs.find(digest))?.chunkRoot
    if (chunkRoot !== undefined) yield chunkRoot
  }
  await forgetOld()
}
