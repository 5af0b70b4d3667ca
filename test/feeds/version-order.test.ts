import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import semver from 'semver'
import { compareVersions, findVersionOrder, isPrerelease } from '../../protocols/feeds/npm/version-order.ts'

const number = fc.oneof(fc.nat({ max: 12 }), fc.nat(), fc.constantFrom('007', '99999999999999999', ''))
const suffix = fc.constantFrom('', '', '', '-alpha', '-alpha.1', '-alpha.10', '-1', '-x-y', '-0a', '-01', '+build', ' ')
const version = fc
  .tuple(number, number, number, suffix)
  .map(([major, minor, patch, end]) => `${major}.${minor}.${patch}${end}`)

describe('the order of versions', () => {
  it('knows exactly the canonical spellings that semver knows', () => {
    fc.assert(
      fc.property(fc.oneof(version, fc.string(), fc.constantFrom('v1.2.3', '=1.2.3', '1.2', '1.2.3.4')), (text) => {
        assert.equal(findVersionOrder(text)?.text, semver.valid(text) === text ? text : undefined)
      }),
    )
  })

  it('compares as semver does', () => {
    fc.assert(
      fc.property(version, version, (a, b) => {
        const [first, second] = [findVersionOrder(a), findVersionOrder(b)]
        if (first === undefined || second === undefined) return
        assert.equal(Math.sign(compareVersions(first, second)), semver.compare(a, b), `${a} ${b}`)
        assert.equal(isPrerelease(a), semver.prerelease(a) !== null)
      }),
    )
  })
})
