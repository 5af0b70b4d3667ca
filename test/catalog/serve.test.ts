/** For whom a node reads blobs out. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSameRegion, isServed, SERVE_SETTINGS } from '../../src/catalog/policy.ts'

const BERLIN = { site: 'berlin', region: 'eu' }
const PARIS = { site: 'paris', region: 'eu' }
const TOKYO = { site: 'tokyo', region: 'asia' }
const NOWHERE = { site: '', region: '' }

test('a serve setting lets in those that it names; who does not say where it is, is nowhere', () => {
  const served = (serve: (typeof SERVE_SETTINGS)[number]) =>
    [BERLIN, PARIS, TOKYO, NOWHERE].map((asker) => isServed(serve, BERLIN, asker))
  assert.deepEqual(served('site'), [true, false, false, false])
  assert.deepEqual(served('region'), [true, true, false, false])
  assert.deepEqual(served('any'), [true, true, true, true])
  assert.deepEqual(served('none'), [false, false, false, false])
  for (const serve of ['site', 'region'] as const) assert.equal(isServed(serve, NOWHERE, NOWHERE), false)
  assert.equal(isSameRegion(BERLIN, PARIS), true)
  assert.equal(isServed('region', { site: 'a', region: '' }, { site: 'b', region: '' }), false)
})
