/** `/api/join`: from a join code to a linked replication. */

import { Type } from 'typebox'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, errors, feedName } from './schemas.ts'

const tags = ['replications']
const code = Type.String({ minLength: 1, maxLength: 65_536 })
const joined = Type.Object(
  {
    feeds: Type.Array(Type.Object({ name: Type.String(), type: Type.String() }, closed)),
    replications: Type.Array(Type.String()),
  },
  closed,
)
const checked = Type.Object(
  {
    ok: Type.Boolean(),
    checks: Type.Array(Type.Object({ name: Type.String(), ok: Type.Boolean(), message: Type.String() }, closed)),
  },
  closed,
)

export function registerJoinRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.post(
    '/join',
    {
      schema: {
        tags,
        operationId: 'join',
        summary: 'Create the feeds and the outgoing replication of a join code',
        body: Type.Object({ code, as: Type.Optional(feedName) }, closed),
        response: { 201: Type.Unsafe<Joined>(joined), ...errors },
      },
    },
    async (request, reply) => {
      const { code, as } = request.body
      return reply.code(201).send(await operations.join(code, as, actorOf(request)))
    },
  )
  scope.post(
    '/join/check',
    {
      schema: {
        tags,
        operationId: 'checkJoin',
        summary: 'Rehearse a join; changes nothing',
        body: Type.Object({ code }, closed),
        response: { 200: Type.Unsafe<Checked>(checked), ...errors },
      },
    },
    (request) => operations.checkJoin(request.body.code),
  )
}

type Operations = AdminContext['operations']
type Joined = Awaited<ReturnType<Operations['join']>>
type Checked = Awaited<ReturnType<Operations['checkJoin']>>
