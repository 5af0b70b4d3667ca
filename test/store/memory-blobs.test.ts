import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { testBlobs } from '../conformance/blobs.ts'

testBlobs('memory', async () => {
  const records = createMemoryRecords()
  let nowMs = 0
  return {
    records,
    blobs: createMemoryBlobs({ records, now: () => nowMs }),
    advance: (ms) => {
      nowMs += ms
    },
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
  }
})
