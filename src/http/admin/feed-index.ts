/** `/api/feeds/:name/index`, `…/index-key`: who signs what package clients trust. */

import { Type } from 'typebox'
import type { IndexSettings } from '../feed-index-operations.ts'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, errors, feedName, schemaOf } from './schemas.ts'

const tags = ['feeds']
const params = Type.Object({ name: feedName })
const mode = Type.Enum(['own', 'replica'], {
  description: 'own: the feed signs its index itself · replica: it serves the index of the feed it pulls from.',
})
const settings = schemaOf<IndexSettings>()(
  Type.Object(
    {
      name: feedName,
      index: mode,
      chosen: Type.Boolean({ description: 'An operator has said so.' }),
      keys: Type.Array(Type.String({ description: 'OpenPGP fingerprint.' })),
    },
    closed,
  ),
)
const exported = Type.Object({ name: feedName, key: Type.String({ description: 'Armored private key.' }) }, closed)

export function registerFeedIndexRoutes(scope: AdminScope, { operations }: AdminContext): void {
  const showSchema = {
    tags,
    operationId: 'showIndex',
    summary: 'Who signs the index of the feed, and with which keys',
    params,
    response: { 200: settings, ...errors },
  }
  scope.get('/feeds/:name/index', { schema: showSchema }, (request) => operations.showIndex(request.params.name))
  const editSchema = {
    tags,
    operationId: 'editIndex',
    summary: 'Say who signs the index of the feed; clients may need another key afterwards',
    params,
    body: Type.Object({ index: mode }, closed),
    response: { 200: settings, ...errors },
  }
  scope.patch('/feeds/:name/index', { schema: editSchema }, (request) =>
    operations.setIndexMode(request.params.name, request.body.index, actorOf(request)),
  )
  const renewSchema = {
    tags,
    operationId: 'renewIndexKey',
    summary: 'Sign the index of the feed with a new key, which clients need from then on',
    params,
    response: { 200: settings, ...errors },
  }
  scope.post('/feeds/:name/index-key/new', { schema: renewSchema }, (request) =>
    operations.renewIndexKey(request.params.name, actorOf(request)),
  )
  const exportSchema = {
    tags,
    operationId: 'exportIndexKey',
    summary: 'The private key that signs the index of the feed',
    params,
    response: { 200: exported, ...errors },
  }
  scope.post('/feeds/:name/index-key', { schema: exportSchema }, (request) =>
    operations.exportIndexKey(request.params.name, actorOf(request)),
  )
}
