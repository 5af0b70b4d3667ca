/** Files of random bytes, for those that are measured beside us. */

import { createHash, randomFillSync } from 'node:crypto'
import { open } from 'node:fs/promises'

const BLOCK_BYTES = 1024 ** 2

/** Synced to disk. @returns sha256 in hex */
export async function writeRandomFile(path: string, bytes: number): Promise<string> {
  await using file = await open(path, 'w')
  const block = Buffer.alloc(BLOCK_BYTES)
  const sha256 = createHash('sha256')
  for (let at = 0; at < bytes; at += block.length) {
    const piece = randomFillSync(block).subarray(0, Math.min(block.length, bytes - at))
    sha256.update(piece)
    await file.write(piece)
  }
  await file.sync()
  return sha256.digest('hex')
}
