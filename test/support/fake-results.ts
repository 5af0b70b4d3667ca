/** What the operations in memory answer with. */

import { randomBytes } from 'node:crypto'
import { FeedmeshError } from '../../src/errors.ts'
import type { ReplicationSummary, RunDetails, RunResult, VerifyReport } from '../../src/http/operations.ts'

export const PEER_ID = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'
export const OTHER_PEER_ID = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
export const AT = '2026-11-23T10:00:00.000Z'
export const NOTHING = { items: 0, bytes: 0 }

/** Codes that `join` knows besides `fmj1_good`: each is refused in its own way. */
export const REFUSED_CODES = {
  fmj1_mistyped: 'TOKEN_MISTYPED',
  fmj1_expired: 'TOKEN_EXPIRED',
  fmj1_lost: 'PEER_UNREACHABLE',
} as const

export const SUCCEEDED: RunResult = {
  runId: 7,
  state: 'succeeded',
  fetched: { items: 3, bytes: 3072 },
  sent: NOTHING,
  deleted: { items: 0 },
  failed: [],
}

/** @throws NOT_FOUND */
export function describeRun(id: number): RunDetails {
  if (id !== 7) throw new FeedmeshError('NOT_FOUND', `no run ${id}`)
  const { runId, state, ...counts } = SUCCEEDED
  return {
    runId,
    state,
    replication: 'aabbccdd',
    peer: OTHER_PEER_ID,
    trigger: 'manual',
    startedAt: AT,
    endedAt: AT,
    fetched: counts.fetched,
    sent: counts.sent,
    deleted: counts.deleted,
    planned: counts.fetched,
    message: '',
    items: [
      { item: 'left-pad@1.0.0', action: 'fetched', bytes: 3072 },
      { item: 'evil\u001b[31m@1', action: 'failed', bytes: 0, code: 'CORRUPT', message: 'bytes do not match' },
    ],
  }
}

export function describeDamage(repaired: boolean): VerifyReport {
  const damage = {
    item: 'tools left-pad@1.0.0 tarball',
    digest: `sha256:${'ab'.repeat(32)}`,
    kind: 'corrupt',
  } as const
  const damaged = [{ ...damage, repaired, message: repaired ? '' : 'not asked to' }]
  return { blobs: 3, bytes: 3072, feeds: 1, damaged }
}

export function describeReplication(local: string, changes: Partial<ReplicationSummary>): ReplicationSummary {
  return {
    id: randomBytes(4).toString('hex'),
    feeds: [{ local, remote: 'upstream' }],
    communication: 'outgoing',
    mode: 'pull',
    availability: 'full',
    serve: 'site',
    quotaBytes: null,
    pins: [],
    maxRate: null,
    window: null,
    peer: OTHER_PEER_ID,
    state: 'ok',
    reason: '',
    lag: { items: 0, bytes: 0, seconds: 0 },
    lastRun: null,
    links: [
      {
        peer: OTHER_PEER_ID,
        local,
        remote: 'upstream',
        connected: true,
        revoked: false,
        confirmed: { digest: 'ab'.repeat(32), at: AT, equal: true },
        lastError: null,
      },
    ],
    ...changes,
  }
}
