/** Records that tell what was written to them, after it is on stable storage. */

import type { Records, Write } from './records.ts'

export function watchRecords(records: Records, onWritten: (writes: readonly Write[]) => void): Records {
  return {
    find: (key) => records.find(key),
    findMany: (keys) => records.findMany(keys),
    scan: (options) => records.scan(options),
    scanKeys: (options) => records.scanKeys(options),
    write: async (writes) => {
      await records.write(writes)
      onWritten(writes)
    },
    clear: (range) => records.clear(range),
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
  }
}
