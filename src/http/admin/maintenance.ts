/** `/api/verify`, `/api/reclaim`, `/api/backup`: the stored bytes themselves. */

import type { Readable } from 'node:stream'
import { Type } from 'typebox'
import type { BackupReport, ReclaimReport, VerifyReport } from '../operations.ts'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { answerLongWork } from './long-work.ts'
import { backupReport, closed, errors, reclaimReport, verifyReport } from './schemas.ts'

const tags = ['node']
const NO_PROGRESS = {}

export function registerMaintenanceRoutes(scope: AdminScope, { operations, log, stopping }: AdminContext): void {
  const verifySchema = {
    tags,
    operationId: 'verify',
    summary: 'Compare everything stored with what was signed, and mend it from peers when asked to',
    body: Type.Object({ repair: Type.Boolean() }, closed),
    response: { 200: Type.Unsafe<VerifyReport | Readable>(verifyReport), ...errors },
  }
  scope.post('/verify', { schema: verifySchema }, (request, reply) => {
    const options = { repair: request.body.repair, signal: stopping }
    const start = () => operations.verify(options, actorOf(request))
    return answerLongWork(request, reply, { begin: NO_PROGRESS, log, start })
  })
  const reclaimSchema = {
    tags,
    operationId: 'reclaim',
    summary: 'Remove what nothing names any more, or only count it',
    body: Type.Object({ dryRun: Type.Boolean() }, closed),
    response: { 200: Type.Unsafe<ReclaimReport | Readable>(reclaimReport), ...errors },
  }
  scope.post('/reclaim', { schema: reclaimSchema }, (request, reply) => {
    const start = () => operations.reclaim({ isDryRun: request.body.dryRun }, actorOf(request))
    return answerLongWork(request, reply, { begin: NO_PROGRESS, log, start })
  })
  const backupSchema = {
    tags,
    operationId: 'backup',
    summary: 'Copy the data folder to a new folder of the same machine, while the node runs',
    body: Type.Object({ directory: Type.String({ minLength: 1, maxLength: 4096 }) }, closed),
    response: { 200: Type.Unsafe<BackupReport | Readable>(backupReport), ...errors },
  }
  scope.post('/backup', { schema: backupSchema }, (request, reply) => {
    const start = () => operations.backup(request.body.directory, actorOf(request))
    return answerLongWork(request, reply, { begin: NO_PROGRESS, log, start })
  })
}
