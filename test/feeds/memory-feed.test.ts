import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import { MAX_FILE_BYTES, testFeed } from '../conformance/feed.ts'

testFeed('in memory', async () => createMemoryFeed({ name: 'test', type: 'assets', maxFileBytes: MAX_FILE_BYTES }))
