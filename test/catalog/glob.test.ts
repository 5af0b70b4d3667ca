import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isGlobMatch, isInScope } from '../../src/catalog/glob.ts'
import { runsOf } from '../support/fuzz-runs.ts'

const character = fc.constantFrom('a', 'b', '/', '.', 'é', '\u{1F600}', '\u{1F601}')

test('a glob takes what the same pattern as a regular expression takes, character by character', () => {
  const anyText = fc.array(character, { maxLength: 8 }).map((parts) => parts.join(''))
  const anyPattern = fc
    .array(fc.oneof(character, fc.constantFrom('*', '?')), { maxLength: 6 })
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(anyPattern, anyText, (pattern, text) => {
      const source = Array.from(pattern)
        .map((one) => (one === '*' ? '[^]*' : one === '?' ? '[^]' : one.replace(/[./]/, '\\$&')))
        .join('')
      assert.equal(isGlobMatch(pattern, text), new RegExp(`^${source}$`, 'u').test(text))
    }),
    runsOf(3000),
  )
})

test('a pattern that would keep a backtracking matcher busy for ever comes to an end', () => {
  assert.equal(isGlobMatch(`${'*a'.repeat(128)}b`, 'a'.repeat(1024)), false)
})

test('no scope holds everything, a scope what one of its globs takes', () => {
  assert.ok(isInScope([], 'anything'))
  assert.ok(isInScope(['x', '@site/*'], '@site/tool'))
  assert.ok(!isInScope(['x', '@site/*'], '@other/tool'))
})
