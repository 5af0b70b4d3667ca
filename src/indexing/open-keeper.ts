/** The keeper of a node's signed indexes, put together. */

import { performance } from 'node:perf_hooks'
import type { Records } from '../store/records.ts'
import { IndexKeeper, type IndexKeeperOptions } from './index-keeper.ts'
import { IndexKeys, type IndexKeysOptions } from './index-keys.ts'
import { IndexModes } from './index-modes.ts'

export interface OpenKeeperOptions extends Omit<IndexKeeperOptions, 'keys' | 'modes' | 'elapsedMs'> {
  readonly records: Records
  /** Folder of private index keys. */
  readonly keyFolder: string
  readonly keyAlgorithm?: IndexKeysOptions['algorithm']
}

export async function openIndexKeeper({
  keyFolder,
  keyAlgorithm,
  ...options
}: OpenKeeperOptions): Promise<IndexKeeper> {
  const { records, now } = options
  const keys = new IndexKeys({
    folder: keyFolder,
    now,
    ...(keyAlgorithm === undefined ? {} : { algorithm: keyAlgorithm }),
  })
  return new IndexKeeper({
    ...options,
    keys,
    modes: await IndexModes.open(records),
    elapsedMs: () => performance.now(),
  })
}
