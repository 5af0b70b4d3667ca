import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DigestPrefixes } from '../../src/indexing/digest-prefixes.ts'

/** Digests of the members in a row, and how many of them were read for it. */
function digest(prefixes: DigestPrefixes, ids: readonly string[], failAt = Number.POSITIVE_INFINITY) {
  const { from, digests } = prefixes.resume(ids)
  for (let at = from; at < ids.length; at += 1) {
    if (at === failAt) throw new Error('a member cannot be read')
    const text = Buffer.from(`text of ${ids[at]}`)
    digests.update({ '': text, gz: text.subarray(1), zst: text.subarray(2) })
    prefixes.pass(at + 1, digests)
  }
  return { ...digests.finish(), read: ids.length - from }
}

function anew(ids: readonly string[]) {
  const of = (cut: number) => {
    const bytes = Buffer.concat(ids.map((id) => Buffer.from(`text of ${id}`).subarray(cut)))
    return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest() }
  }
  return { raw: of(0), gz: of(1), zst: of(2) }
}

describe('digests of a document that changes', () => {
  const id = fc.integer({ min: 0, max: 5 }).map(String)
  const ids = fc.array(id, { maxLength: 60 })
  const edit = fc.record({ at: fc.nat(60), drop: fc.nat(3), put: fc.array(id, { maxLength: 3 }), fail: fc.boolean() })

  it('are those of the whole, whatever changed, and after attempts that failed', () => {
    fc.assert(
      fc.property(ids, fc.array(edit, { maxLength: 6 }), (first, edits) => {
        const prefixes = new DigestPrefixes()
        let now: readonly string[] = first
        const verify = () => {
          const { read: _, ...digests } = digest(prefixes, now)
          assert.deepEqual(digests, anew(now))
        }
        verify()
        for (const { at, drop, put, fail } of edits) {
          now = now.toSpliced(at, drop, ...put)
          if (fail && prefixes.resume(now).from < now.length - 1)
            assert.throws(() => digest(prefixes, now, now.length - 1), /cannot be read/)
          verify()
        }
      }),
    )
  })

  it('cost what comes after the change, and a few members before it', () => {
    const prefixes = new DigestPrefixes()
    const members = Array.from({ length: 400 }, (_, at) => `member ${at}`)
    assert.equal(digest(prefixes, members).read, 400)
    assert.equal(digest(prefixes, members.with(300, 'other')).read, 104)
    assert.equal(digest(prefixes, members.with(390, 'other')).read, 104)
    assert.equal(digest(prefixes, members.with(391, 'other')).read, 16)
    assert.equal(digest(prefixes, [...members, 'more']).read, 17)
  })
})
