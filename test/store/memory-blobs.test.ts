import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { testBlobChunks } from '../conformance/blob-chunks.ts'
import { testBlobs } from '../conformance/blobs.ts'

const open = async () => {
  const records = createMemoryRecords()
  let nowMs = 0
  return {
    records,
    blobs: createMemoryBlobs({ records, now: () => nowMs }),
    advance: (ms: number) => {
      nowMs += ms
    },
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
  }
}

testBlobs('memory', open)
testBlobChunks('memory', open)
