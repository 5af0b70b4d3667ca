/** A record store that is gone from one moment on, as after kill −9: what was written stays, nothing is written or read any more. */

import { FeedmeshError } from '../../src/errors.ts'
import type { KeyRange, Records, ScanOptions, Write } from '../../src/store/records.ts'

export interface KilledRecords extends Records {
  readonly isKilled: boolean
  kill(): void
}

/** Disposing of it leaves `records` open, for the node that is started afterwards. */
export function killable(records: Records): KilledRecords {
  let isKilled = false
  const verifyAlive = () => {
    if (isKilled) throw new FeedmeshError('ABORTED', 'the process was killed')
  }
  async function* whileAlive<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const item of items) {
      verifyAlive()
      yield item
    }
  }
  const alive = async <T>(work: () => Promise<T>): Promise<T> => {
    verifyAlive()
    return await work()
  }
  return {
    get isKilled() {
      return isKilled
    },
    kill() {
      isKilled = true
    },
    find: (key: Uint8Array) => alive(() => records.find(key)),
    findMany: (keys: readonly Uint8Array[]) => alive(() => records.findMany(keys)),
    scan: (options: ScanOptions) => whileAlive(records.scan(options)),
    scanKeys: (options: ScanOptions) => whileAlive(records.scanKeys(options)),
    write: (writes: readonly Write[]) => alive(() => records.write(writes)),
    clear: (range: KeyRange) => alive(() => records.clear(range)),
    async [Symbol.asyncDispose]() {},
  }
}
