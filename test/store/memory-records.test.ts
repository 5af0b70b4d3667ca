import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { testRecords } from '../conformance/records.ts'

testRecords('memory', async () => createMemoryRecords())
