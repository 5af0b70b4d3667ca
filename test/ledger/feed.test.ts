import { MAX_FILE_BYTES, testFeed } from '../conformance/feed.ts'
import { openLedgerNode } from '../support/ledger-node.ts'

testFeed('over the ledger', async () => (await openLedgerNode()).createFeed('packages', 'npm', MAX_FILE_BYTES))
