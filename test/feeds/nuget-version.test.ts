import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  comparePackageVersions,
  findPackageVersion,
  isSemVer2,
  parsePackageVersion,
} from '../../protocols/feeds/nuget/package-version.ts'

const compare = (a: string, b: string) =>
  Math.sign(comparePackageVersions(parsePackageVersion(a), parsePackageVersion(b)))

describe('NuGet versions', () => {
  it('are normalised as clients ask for them', () => {
    const table: readonly (readonly [string, string])[] = [
      ['1', '1.0.0'],
      ['1.0', '1.0.0'],
      ['1.0.0.0', '1.0.0'],
      ['1.0.0.5', '1.0.0.5'],
      ['01.002.0003', '1.2.3'],
      ['1.2.3-Beta', '1.2.3-Beta'],
      ['1.2-rc.1+build.7', '1.2.0-rc.1'],
      ['1.0.0+meta', '1.0.0'],
      [' 1.2.3 ', '1.2.3'],
      ['2147483647.0', '2147483647.0.0'],
    ]
    for (const [given, normalized] of table) assert.equal(findPackageVersion(given)?.normalized, normalized, given)
    assert.equal(findPackageVersion('1.0-BETA')?.key, '1.0.0-beta')
  })

  it('that NuGet cannot read are none', () => {
    for (const text of [
      '',
      'a',
      '1.',
      '.1',
      '1..2',
      '1.2.3.4.5',
      '1-',
      '1.0-a_b',
      '1.0-a..b',
      '1.0+',
      '2147483648',
      '1 .0',
      `1.0-${'x'.repeat(130)}`,
    ])
      assert.equal(findPackageVersion(text), undefined, text)
  })

  it('are ordered as NuGet orders them', () => {
    const rising = [
      '0.9',
      '1.0.0--1',
      '1.0.0-1',
      '1.0.0-2',
      '1.0.0-10',
      '1.0.0-99999999999',
      '1.0.0-alpha',
      '1.0.0-alpha.1',
      '1.0.0-alpha.beta',
      '1.0.0-beta',
      '1.0.0-beta.2',
      '1.0.0-beta.11',
      '1.0.0-beta2',
      '1.0.0-rc.1',
      '1.0.0',
      '1.0.0.1',
      '1.0.1-a',
      '1.0.1',
      '1.2',
      '1.10',
      '2',
    ]
    for (const [at, a] of rising.entries()) {
      for (const [other, b] of rising.entries()) assert.equal(compare(a, b), Math.sign(at - other), `${a} ${b}`)
    }
    for (const [a, b] of [
      ['1.0', '1.0.0.0'],
      ['1.0-ALPHA', '1.0.0-alpha'],
      ['1.0+a', '1.0+b'],
    ] as const)
      assert.equal(compare(a, b), 0)
  })

  it('of SemVer 2 are told from those that old clients read', () => {
    assert.deepEqual(
      ['1.0', '1.0-a', '1.0-a.1', '1.0+m'].map((text) => isSemVer2(parsePackageVersion(text))),
      [false, false, true, true],
    )
  })
})
