/**
 * The documents of the administration API as JSON Schema. Requests are validated by them; answers are described by them and
 * sent whole. Each answer's schema is held against the contract in operations.ts by the compiler.
 */

import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'
import { COMMUNICATION_MODES, REPLICATION_MODES, SERVE_SETTINGS } from '../../catalog/policy.ts'
import { UNSIGNED_POLICIES } from '../../feeds/feed.ts'
import type {
  BackupReport,
  FeedDetails,
  FeedSummary,
  KeySummary,
  LinkSummary,
  NodeStatus,
  PeerSummary,
  Problem,
  ReclaimReport,
  ReplicationCreated,
  ReplicationSummary,
  RunDetails,
  RunResult,
  RunSummary,
  TokenSummary,
  VerifyReport,
} from '../operations.ts'

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T
/** Whether the documents of a schema are exactly those of a type. */
type Fits<T, S extends TSchema> = [DeepReadonly<T>] extends [DeepReadonly<Static<S>>]
  ? [DeepReadonly<Static<S>>] extends [DeepReadonly<T>]
    ? unknown
    : never
  : never

/** The schema of a contract's documents; does not compile when the two differ. */
export function schemaOf<T>() {
  return <S extends TSchema>(schema: S & Fits<T, S>): TUnsafe<T> => Type.Unsafe<T>(schema)
}

export const closed = { additionalProperties: false } as const

export const count = Type.Integer({ minimum: 0 })
export const time = Type.String({ description: 'ISO 8601, UTC' })
const orNull = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()])
const amount = Type.Object({ items: count, bytes: count }, closed)
const items = Type.Object({ items: count }, closed)

export const feedName = Type.String({ minLength: 1, maxLength: 128 })
export const identifier = Type.String({ minLength: 1, maxLength: 64 })
export const permission = Type.Enum(['read', 'publish', 'delete', 'admin'])
export const communication = Type.Enum([...COMMUNICATION_MODES])
export const mode = Type.Enum([...REPLICATION_MODES])
export const availability = Type.Enum(['full', 'on-demand'])
export const deletes = Type.Enum(['follow', 'keep'])
export const serve = Type.Enum([...SERVE_SETTINGS], {
  description: 'For whom blobs are read out beside linked peers; `site` unless told.',
})
export const quotaBytes = orNull(
  Type.Integer({
    minimum: 1,
    description: 'On demand: bytes of fetched files that are kept; null: as the disk allows.',
  }),
)
export const maxRate = orNull(
  Type.Integer({ minimum: 1024, description: 'Bytes a second, each way; null: as the network allows.' }),
)
export const timeWindow = orNull(
  Type.String({
    pattern: '^\\d\\d:\\d\\d-\\d\\d:\\d\\d$',
    description: 'When runs by schedule may be under way, such as 22:00-06:00, local time; null: always.',
  }),
)
export const globs = Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { maxItems: 64 })

const errorDocument = Type.Object(
  { error: Type.Object({ code: Type.String(), message: Type.String() }, closed) },
  { ...closed, description: 'What was wrong, and what to do; feedmesh explain CODE tells more.' },
)
/** Answers of every call that can fail. */
export const errors = { '4xx': errorDocument, '5xx': errorDocument } as const

export const unsigned = Type.Enum([...UNSIGNED_POLICIES], {
  description:
    'What becomes of packages that their publisher has not signed; for types whose packages carry signatures.',
})
const feedFields = {
  id: Type.String(),
  name: Type.String(),
  type: Type.String(),
  publicRead: Type.Boolean(),
  unsigned: Type.Optional(unsigned),
  maxRate: Type.Optional(count),
  entries: count,
  bytes: count,
}
export const feedSummary = schemaOf<FeedSummary>()(Type.Object(feedFields, closed))

const manifest = Type.Object(
  {
    feedId: Type.String(),
    owner: Type.String(),
    epoch: count,
    seq: count,
    refresh: count,
    issuedAt: time,
    expiresAt: time,
    stateRoot: Type.String(),
    entries: count,
  },
  closed,
)

export const feedDetails = schemaOf<FeedDetails>()(
  Type.Object(
    {
      ...feedFields,
      feedId: Type.String(),
      digest: Type.String({ description: 'Equal digests = equal content.' }),
      sources: Type.Array(
        Type.Object(
          {
            feedId: Type.String(),
            digest: Type.String(),
            entries: count,
            bytes: count,
            stale: Type.Boolean(),
            rank: Type.String(),
          },
          closed,
        ),
      ),
      manifests: Type.Array(manifest),
    },
    closed,
  ),
)

const runFields = {
  runId: count,
  replication: Type.String(),
  peer: Type.String(),
  trigger: Type.Enum(['manual', 'schedule', 'connect', 'change', 'link']),
  state: Type.Enum(['running', 'succeeded', 'failed', 'partial']),
  startedAt: time,
  endedAt: orNull(time),
  fetched: amount,
  sent: amount,
  deleted: items,
  planned: amount,
  message: Type.String(),
}
const runObject = Type.Object(runFields, closed)
export const runSummary = schemaOf<RunSummary>()(runObject)

const runItem = Type.Object(
  {
    item: Type.String(),
    action: Type.Enum(['fetched', 'deleted', 'sent', 'failed']),
    bytes: count,
    code: Type.Optional(Type.String()),
    message: Type.Optional(Type.String()),
  },
  closed,
)
export const runDetails = schemaOf<RunDetails>()(Type.Object({ ...runFields, items: Type.Array(runItem) }, closed))

export const runResult = schemaOf<RunResult>()(
  Type.Object(
    {
      runId: count,
      state: Type.Enum(['succeeded', 'failed', 'partial']),
      fetched: amount,
      sent: amount,
      deleted: items,
      failed: Type.Array(Type.Object({ item: Type.String(), code: Type.String(), message: Type.String() }, closed)),
    },
    closed,
  ),
)

const linkObject = Type.Object(
  {
    peer: Type.String(),
    local: Type.String(),
    remote: Type.String(),
    connected: Type.Boolean(),
    revoked: Type.Boolean(),
    confirmed: orNull(Type.Object({ digest: Type.String(), at: time, equal: Type.Boolean() }, closed)),
    lastError: orNull(Type.Object({ code: Type.String(), message: Type.String(), at: time }, closed)),
  },
  closed,
)
export const linkSummary = schemaOf<LinkSummary>()(linkObject)

export const replicationSummary = schemaOf<ReplicationSummary>()(
  Type.Object(
    {
      id: Type.String(),
      feeds: Type.Array(Type.Object({ local: Type.String(), remote: orNull(Type.String()) }, closed)),
      communication,
      mode,
      availability,
      serve,
      quotaBytes,
      pins: globs,
      maxRate,
      window: timeWindow,
      peer: orNull(Type.String()),
      state: Type.Enum(['waiting', 'connecting', 'ok', 'running', 'behind', 'failing', 'paused', 'unreachable']),
      reason: Type.String({ description: 'Why it is in that state; empty when all is well.' }),
      lag: Type.Object({ items: count, bytes: count, seconds: count }, closed),
      lastRun: orNull(runObject),
      links: Type.Array(linkObject),
    },
    closed,
  ),
)

export const replicationCreated = schemaOf<ReplicationCreated>()(
  Type.Object(
    {
      id: Type.String(),
      token: Type.Optional(Type.String({ description: 'Shown this once.' })),
      joinCode: Type.Optional(Type.String({ description: 'Shown this once.' })),
    },
    closed,
  ),
)

export const replicationPlan = Type.Object({ fetch: amount, send: amount, delete: items }, closed)

export const tokenSummary = schemaOf<TokenSummary>()(
  Type.Object(
    {
      id: Type.String(),
      replication: Type.String(),
      createdAt: time,
      expiresAt: orNull(time),
      usesLeft: orNull(count),
      state: Type.Enum(['usable', 'expired', 'used up', 'revoked']),
      links: count,
    },
    closed,
  ),
)

export const keySummary = schemaOf<KeySummary>()(
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      feed: orNull(Type.String()),
      can: Type.Array(permission),
      createdAt: time,
    },
    closed,
  ),
)

export const peerSummary = schemaOf<PeerSummary>()(
  Type.Object(
    {
      peerId: Type.String(),
      site: Type.String(),
      rttMs: orNull(Type.Number()),
      direction: orNull(Type.Enum(['inbound', 'outbound'])),
      connected: Type.Boolean(),
      inRate: Type.Number({ description: 'Bytes a second.' }),
      outRate: Type.Number({ description: 'Bytes a second.' }),
      addresses: Type.Array(Type.String()),
    },
    closed,
  ),
)

export const problem = schemaOf<Problem>()(
  Type.Object(
    { code: Type.String(), subject: Type.String(), message: Type.String(), cure: Type.String(), since: time },
    closed,
  ),
)

export const nodeStatus = schemaOf<NodeStatus>()(
  Type.Object(
    {
      peerId: Type.String(),
      version: Type.String(),
      http: Type.String(),
      listen: Type.Array(Type.String()),
      feeds: count,
      replications: count,
      problems: count,
    },
    closed,
  ),
)

export const verifyReport = schemaOf<VerifyReport>()(
  Type.Object(
    {
      blobs: count,
      bytes: count,
      feeds: count,
      damaged: Type.Array(
        Type.Object(
          {
            item: Type.String(),
            digest: Type.String(),
            kind: Type.Enum(['missing', 'corrupt']),
            repaired: Type.Boolean(),
            message: Type.String(),
          },
          closed,
        ),
      ),
    },
    closed,
  ),
)

export const reclaimReport = schemaOf<ReclaimReport>()(
  Type.Object({ blobs: count, bytes: count, feeds: count, kept: count }, closed),
)

export const backupReport = schemaOf<BackupReport>()(
  Type.Object({ directory: Type.String(), records: count, blobs: count, bytes: count }, closed),
)

/** Of an answer without a body. */
export const nothing = Type.Unsafe<undefined>(Type.Null())

/** A list under its name, so that fields can be added beside it. */
export function listOf<Name extends string, S extends TSchema>(name: Name, item: S) {
  type Document = { readonly [Key in Name]: readonly Static<S>[] }
  return Type.Unsafe<Document>(Type.Object({ [name]: Type.Array(item) }, closed))
}
