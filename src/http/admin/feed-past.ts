/** `/api/feeds/:name/epoch`, `…/recovery-key`, `…/returned`, `/api/recover`: what is decided about a feed's past. */

import { Type } from 'typebox'
import type { EpochPlan, RecoveredFeed, ReturnedRowSummary } from '../operations.ts'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, count, errors, feedName, nothing, schemaOf, time } from './schemas.ts'

const tags = ['feeds']
const params = Type.Object({ name: feedName })

const epochPlan = schemaOf<EpochPlan>()(
  Type.Object(
    {
      name: feedName,
      epoch: count,
      nextEpoch: count,
      entries: count,
      forked: Type.Boolean({ description: 'Peers hold the proof that two states were signed under one number.' }),
      lostStates: count,
      unaskedPeers: Type.Array(Type.String()),
      peers: count,
    },
    closed,
  ),
)
const recoveredFeed = schemaOf<RecoveredFeed>()(
  Type.Object(
    { feedId: Type.String(), name: feedName, generation: count, epoch: count, charterVersion: count },
    closed,
  ),
)
const returnedRow = schemaOf<ReturnedRowSummary>()(
  Type.Object(
    {
      feedId: Type.String(),
      unit: Type.String(),
      key: Type.String(),
      kind: Type.Enum(['came back', 'went back', 'lost']),
      epoch: count,
      at: time,
      hidden: Type.Boolean(),
      answered: Type.Boolean(),
    },
    closed,
  ),
)
const returnedRows = Type.Object({ rows: Type.Array(returnedRow), total: count }, closed)
const recoveryKey = Type.Object({ feedId: Type.String(), key: Type.String() }, closed)
const recovery = Type.Object(
  {
    key: Type.String({ minLength: 1, maxLength: 4096, description: 'Recovery key of the feed, `fmr1_…`.' }),
    as: Type.Optional(feedName),
    charterVersion: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
  },
  closed,
)

export function registerFeedPastRoutes(scope: AdminScope, { operations }: AdminContext): void {
  const planSchema = {
    tags,
    operationId: 'planEpoch',
    summary: 'What a new epoch of the feed would do',
    params,
    response: { 200: epochPlan, ...errors },
  }
  scope.get('/feeds/:name/epoch', { schema: planSchema }, (request) => operations.planEpoch(request.params.name))
  const epochSchema = {
    tags,
    operationId: 'raiseEpoch',
    summary: 'Begin a new epoch of the feed with what is here of it',
    params,
    response: { 200: epochPlan, ...errors },
  }
  scope.post('/feeds/:name/epoch', { schema: epochSchema }, (request) =>
    operations.raiseEpoch(request.params.name, actorOf(request)),
  )
  const recoverSchema = {
    tags,
    operationId: 'recoverFeed',
    summary: 'Make this node the owner of a feed with its recovery key',
    body: recovery,
    response: { 200: recoveredFeed, ...errors },
  }
  scope.post('/recover', { schema: recoverSchema }, (request) => operations.recoverFeed(request.body, actorOf(request)))
  registerRecoveryKey(scope, operations)
  registerReturned(scope, operations)
}

function registerRecoveryKey(scope: AdminScope, operations: AdminContext['operations']): void {
  const exportSchema = {
    tags,
    operationId: 'exportRecoveryKey',
    summary: 'The recovery key of the feed, to be kept elsewhere',
    params,
    response: { 200: recoveryKey, ...errors },
  }
  scope.post('/feeds/:name/recovery-key', { schema: exportSchema }, (request) =>
    operations.exportRecoveryKey(request.params.name, actorOf(request)),
  )
  const forgetSchema = {
    tags,
    operationId: 'forgetRecoveryKey',
    summary: 'Take the recovery key of the feed off this node',
    params,
    response: { 204: nothing, ...errors },
  }
  scope.delete('/feeds/:name/recovery-key', { schema: forgetSchema }, async (request, reply) => {
    await operations.forgetRecoveryKey(request.params.name, actorOf(request))
    return reply.code(204).send()
  })
}

function registerReturned(scope: AdminScope, operations: AdminContext['operations']): void {
  const listSchema = {
    tags,
    operationId: 'listReturned',
    summary: 'Rows that new epochs of the sources of the feed undid',
    params,
    response: { 200: returnedRows, ...errors },
  }
  scope.get('/feeds/:name/returned', { schema: listSchema }, async (request, reply) => {
    const { rows, total } = await operations.listReturned(request.params.name)
    return reply.send({ rows: [...rows], total })
  })
  const answerSchema = {
    tags,
    operationId: 'answerReturned',
    summary: 'Show the rows that came back, or hide them for good',
    params,
    body: Type.Object({ answer: Type.Enum(['show', 'hide']) }, closed),
    response: { 200: Type.Object({ answered: count }, closed), ...errors },
  }
  scope.post('/feeds/:name/returned', { schema: answerSchema }, (request) =>
    operations.answerReturned(request.params.name, request.body.answer, actorOf(request)),
  )
}
