/** Which of two chains of charters counts, whatever a thief signs; and what one side of a fork can prove. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Charter, signCharter, succeedCharter } from '../../src/catalog/charter.ts'
import { compareChains, compareEpochs, openCharters } from '../../src/catalog/charter-chain.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { findFork, isAboveFork, isForkOpen } from '../../src/catalog/fork-proof.ts'
import type { Signed } from '../../src/catalog/signed.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const feed = new SignedFeed('chains')
const first = feed.charter
const recovery = createSeedSigner(sha256('recovery of chains'))
const LAST_GOOD = { epoch: 1, seq: 1, stateRoot: sha256('good') }

type Step = 'version' | 'epoch' | 'recovery'

/** `salt` tells charters of one number apart. */
function grow(chain: readonly Signed<Charter>[], step: Step, salt: number): Signed<Charter>[] {
  const current = chain.at(-1)!
  const next = { ...succeedCharter(current, salt), epoch: current.value.epoch + (step === 'version' ? 0 : 1) }
  const { generation } = current.value
  if (step !== 'recovery') return [...chain, signCharter(next, feed.signer)]
  return [...chain, signCharter({ ...next, generation: generation + 1, lastGood: LAST_GOOD }, recovery)]
}

const anyChain = fc
  .array(fc.tuple(fc.constantFrom<Step>('version', 'version', 'epoch', 'recovery'), fc.nat(1)), { maxLength: 6 })
  .map((steps) => steps.reduce<Signed<Charter>[]>((chain, [step, salt]) => grow(chain, step, salt), [first]))

test('of any two chains at most one replaces the other, and who follows the later one never goes back', () => {
  let replaced = 0
  fc.assert(
    fc.property(anyChain, anyChain, (one, other) => {
      const [there, back] = [compareChains(one, other), compareChains(other, one)]
      const [a, b] = [one.at(-1)!.value, other.at(-1)!.value]
      assert.ok(!(there.kind === 'newer' && back.kind === 'newer'))
      assert.equal(there.kind === 'forked', back.kind === 'forked')
      if (there.kind === 'newer') {
        replaced += 1
        assert.ok(compareEpochs(b, a) >= 0)
        const at = there.charters[0]!.value.version - 1
        const merged = [...one.slice(0, at), ...there.charters]
        assert.deepEqual(
          merged.map(({ hash }) => hash),
          other.map(({ hash }) => hash),
        )
        assert.ok(['nothing new', 'overruled'].includes(back.kind))
      }
      if (there.kind === 'overruled') assert.ok(compareEpochs(b, a) < 0)
    }),
    runsOf(300),
  )
  assert.ok(replaced > 20, `${replaced}`)
})

test('a proof that two chains give is good for whoever has either, and bars nothing once the epoch has risen', () => {
  let proven = 0
  fc.assert(
    fc.property(anyChain, anyChain, (one, other) => {
      const compared = compareChains(one, other)
      if (compared.kind !== 'forked' || compared.proof === undefined) return
      for (const chain of [one, other]) {
        const fork = findFork(compared.proof, chain)
        if (fork === undefined) continue
        proven += 1
        const charter = chain.at(-1)!.value
        assert.ok(isForkOpen(fork, charter))
        assert.ok(isAboveFork(fork, { charter, seq: 1 }) || charter.version < fork.number)
        for (const step of ['epoch', 'recovery'] as const) {
          const next = grow(chain, step, 9).at(-1)!.value
          assert.ok(!isForkOpen(fork, next) && !isAboveFork(fork, { charter: next, seq: 99 }))
          assert.equal(findFork(compared.proof, grow(chain, step, 9)), undefined)
        }
      }
    }),
    runsOf(500),
  )
  assert.ok(proven > 10, `${proven}`)
})

test('chains are read from their first charter, each the successor of the one before', () => {
  const chain = grow(grow([first], 'epoch', 1), 'recovery', 2)
  const encoded = chain.map(({ bytes }) => bytes)
  assert.equal(openCharters(feed.feedId, undefined, encoded).length, 3)
  assert.equal(openCharters(feed.feedId, first, encoded.slice(1)).length, 2)
  assert.throws(() => openCharters(feed.feedId, undefined, encoded.slice(1)), /first charter/)
  assert.throws(() => openCharters(feed.feedId, first, encoded.slice(2)), /predecessor/)
  assert.throws(() => openCharters('00'.repeat(32), undefined, encoded), /for feed 00/)
})
