/** The CDDL files say what the code does: keys, names, types and limits, of every record. */

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { announcement } from '../../protocols/mesh/announce/messages.ts'
import { blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { bulkOpening, bulkReply, bulkRequest } from '../../protocols/mesh/bulk/messages.ts'
import { errorReply } from '../../protocols/mesh/exchange.ts'
import { helloShape, linkReply, linkRequest, transcriptShape } from '../../protocols/mesh/link/messages.ts'
import { nearbyReply, nearbyRequest } from '../../protocols/mesh/nearby/messages.ts'
import { syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import type { ShapeForm } from '../../src/catalog/cbor.ts'
import { charterShape } from '../../src/catalog/charter.ts'
import { forkProofShape } from '../../src/catalog/fork-proof.ts'
import { grantShape, revocationsShape } from '../../src/catalog/grant.ts'
import { depsShape, manifestShape } from '../../src/catalog/manifest.ts'
import { envelopeShape } from '../../src/catalog/signed.ts'
import { joinCodeShape, tokenShape } from '../../src/catalog/token.ts'
import { readSchemas, renderForm } from '../support/cddl.ts'

const MESH = resolve(import.meta.dirname, '../../protocols/mesh')
const FILES = [
  'objects.cddl',
  ...['link', 'sync', 'blob', 'announce', 'bulk', 'nearby'].map((name) => `${name}/messages.cddl`),
]

const SHAPES: Readonly<Record<string, { readonly form: ShapeForm }>> = {
  envelope: envelopeShape,
  charter: charterShape,
  manifest: manifestShape,
  'fork-proof': forkProofShape,
  deps: depsShape,
  grant: grantShape,
  revocations: revocationsShape,
  token: tokenShape,
  'join-code': joinCodeShape,
  'error-reply': errorReply,
  hello: helloShape,
  transcript: transcriptShape,
  'link-request': linkRequest,
  'link-reply': linkReply,
  'sync-request': syncRequest,
  'sync-reply': syncReply,
  'blob-request': blobRequest,
  'blob-reply': blobReply,
  announcement,
  'nearby-request': nearbyRequest,
  'nearby-reply': nearbyReply,
  'bulk-request': bulkRequest,
  'bulk-reply': bulkReply,
  'bulk-opening': bulkOpening,
}

const schemas = readSchemas(await Promise.all(FILES.map((file) => readFile(join(MESH, file), 'utf8'))))

for (const [name, shape] of Object.entries(SHAPES)) {
  test(`${name} is in the schema as it is in the code`, () => {
    assert.equal(schemas.get(name), renderForm(shape.form))
  })
}

test('every record of the schema is part of a shape of the code', () => {
  const whole = Object.values(SHAPES).map((shape) => renderForm(shape.form))
  for (const [name, form] of schemas)
    assert.ok(
      whole.some((one) => one.includes(form)),
      `${name} is in no shape`,
    )
})

test('the reader of schemas notices what differs', () => {
  const form = { type: 'record', fields: { feedId: [1, { type: 'bytes', min: 32, max: 32 }] } } as const
  const read = (source: string) => readSchemas([source]).get('x')
  assert.equal(read('x = {\n  1: bstr .size 32, ; feedId the id\n}\n'), renderForm(form))
  for (const other of [
    '1: bstr .size 31, ; feedId',
    '2: bstr .size 32, ; feedId',
    '1: bstr .size 32, ; id',
    '1: bstr .size (0..32), ; feedId',
  ])
    assert.notEqual(read(`x = {\n  ${other}\n}\n`), renderForm(form))
  assert.throws(() => read('x = {\n  1: bstr .size 32,\n}\n'), SyntaxError)
  assert.throws(() => read('x = { 1: unknown, ; feedId\n}\n'), SyntaxError)
})
