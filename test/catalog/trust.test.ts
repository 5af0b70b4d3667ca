/** Signed objects: what is taken, what is refused, and that what is taken never goes backwards. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isCharterFork, MAX_INCLUDES, openCharter, signCharter, succeedCharter } from '../../src/catalog/charter.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import {
  type ChainQuestion,
  type Grant,
  grantShape,
  MAX_GRANT_MS,
  signGrant,
  VERBS,
  type Verb,
  verifyGrantChain,
} from '../../src/catalog/grant.ts'
import {
  compareOrder,
  isFork,
  type Manifest,
  openManifest,
  signManifest,
  verifyManifest,
} from '../../src/catalog/manifest.ts'
import { openObject, type Signed } from '../../src/catalog/signed.ts'
import { nextStamp, stampMs } from '../../src/catalog/stamp.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { pull } from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const feed = new SignedFeed('trust')
feed.sign([])
const { charter, manifest } = feed.stateAfter([])
const NOW = manifest.value.issuedAt + 1000
const HOUR = 3_600_000

describe('a signed object', () => {
  test('with any bit flipped is refused', () => {
    const signer = createSeedSigner(sha256('issuer'))
    const grant = signGrant(
      { feedId: sha256('f'), subject: sha256('s'), verbs: 1, notBefore: 1, expiresAt: 2, id: Buffer.alloc(16) },
      signer,
    )
    const openers: [Uint8Array, (bytes: Uint8Array) => unknown][] = [
      [manifest.bytes, openManifest],
      [charter.bytes, openCharter],
      [grant.bytes, (bytes) => openObject('grant', grantShape, bytes)],
    ]
    for (const [good, open] of openers) {
      assert.ok(open(good))
      for (let bit = 0; bit < good.length * 8; bit += 1) {
        const changed = Uint8Array.from(good)
        changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7))
        assert.throws(
          () => open(changed),
          (error) => isFeedmeshError(error, 'PEER_INVALID', 'FORGED'),
          `bit ${bit}`,
        )
      }
    }
  })

  test('that nobody could read again is not signed', () => {
    const includes = Array.from({ length: MAX_INCLUDES + 1 }, () => pull('x'))
    const tooLarge = Array.from({ length: 20 }, () =>
      pull('x', { scope: Array.from({ length: 64 }, () => 'x'.repeat(256)) }),
    )
    for (const change of [{ includes }, { includes: tooLarge }, { feedType: 'x'.repeat(33) }, { version: 4097 }])
      assert.throws(
        () => signCharter({ ...charter.value, ...change }, feed.signer),
        (error) => isFeedmeshError(error, 'BAD_INPUT'),
      )
  })
})

describe('manifests', () => {
  const sign = (change: Partial<Manifest>): Signed<Manifest> =>
    signManifest({ ...manifest.value, ...change }, feed.signer)
  const anyManifest = fc
    .record({ seq: fc.integer({ min: 1, max: 5 }), refresh: fc.nat(3), fork: fc.boolean(), late: fc.boolean() })
    .map(({ seq, refresh, fork, late }) =>
      sign({
        seq,
        refresh,
        stateRoot: sha256(`state ${seq} ${fork}`),
        expiresAt: late ? manifest.value.issuedAt : NOW + HOUR,
      }),
    )

  test('taken one after the other only ever go up, expired or not, and a fork is told whatever came before', () => {
    fc.assert(
      fc.property(fc.array(anyManifest, { maxLength: 12 }), (offered) => {
        let floor: Signed<Manifest> | undefined
        for (const one of offered) {
          const context = { charter, nowMs: NOW, ...(floor === undefined ? {} : { floor }) }
          try {
            const result = verifyManifest(one, context)
            if (floor !== undefined) {
              const order = compareOrder(one.value, floor.value)
              assert.ok(result === 'same' ? Buffer.from(one.hash).equals(floor.hash) : order > 0)
              assert.equal(result === 'refresh', result !== 'same' && one.value.seq === floor.value.seq)
            }
            if (result !== 'same') floor = one
          } catch (error) {
            assert.ok(floor !== undefined && isFeedmeshError(error, 'ROLLED_BACK', 'FORKED'))
            assert.equal(isFeedmeshError(error, 'FORKED'), isFork(one.value, floor.value))
            if (isFeedmeshError(error, 'ROLLED_BACK')) assert.ok(compareOrder(one.value, floor.value) <= 0)
          }
        }
      }),
      runsOf(100),
    )
  })

  test('are a fork the same way round for everybody, and never by being refreshed', () => {
    const state = sign({ seq: 3, stateRoot: sha256('one') })
    const forks = [
      sign({ seq: 3, stateRoot: sha256('two') }),
      sign({ seq: 3, stateRoot: sha256('one'), logSize: 99 }),
      sign({ seq: 3, stateRoot: sha256('one'), charter: sha256('c') }),
    ]
    for (const other of forks) assert.ok(isFork(state.value, other.value) && isFork(other.value, state.value))
    const refreshed = sign({ seq: 3, stateRoot: sha256('one'), refresh: 7, depsRoot: sha256('deps'), expiresAt: NOW })
    assert.ok(!isFork(state.value, refreshed.value))
    assert.ok(!isFork(state.value, sign({ seq: 4, stateRoot: sha256('two') }).value))
    assert.ok(!isFork(state.value, sign({ seq: 3, epoch: 2, stateRoot: sha256('two') }).value))
    assert.ok(!isFork(state.value, sign({ seq: 3, feedId: sha256('f'), stateRoot: sha256('two') }).value))
  })
})

test('two charters of one number are a fork only when one key signed both', () => {
  const next = (issuedAt: number, signer = feed.signer) => signCharter(succeedCharter(charter, issuedAt), signer)
  assert.ok(isCharterFork(next(1), next(2)))
  assert.ok(!isCharterFork(next(1), next(1)))
  assert.ok(!isCharterFork(next(1), next(2, createSeedSigner(sha256('stranger')))))
})

describe('grants', () => {
  const signers = ['owner', 'one', 'two', 'asker'].map((name) => createSeedSigner(sha256(name)))
  const feedId = sha256('feed')
  const anyLink = fc.record({
    isOwnFeed: fc.boolean(),
    verbs: fc.nat(7),
    notBefore: fc.integer({ min: -2, max: 2 }),
    hours: fc.integer({ min: -1, max: 26 }),
    isRevoked: fc.boolean(),
    isRightSigner: fc.constantFrom(true, true, true, false),
  })
  const anyQuestion = fc.record({
    verb: fc.constantFrom<Verb>('read', 'offer', 'relay'),
    graceMs: fc.constantFrom(0, 5 * HOUR),
    isRightAsker: fc.constantFrom(true, true, true, false),
  })

  test('open a feed exactly when every link says so', () => {
    let opened = 0
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ arbitrary: anyLink, weight: 1 }, { arbitrary: fc.constant(undefined), weight: 6 }), {
          maxLength: 3,
        }),
        anyQuestion,
        (defects, question) => {
          const good = { isOwnFeed: true, verbs: 7, notBefore: -1, hours: 20, isRevoked: false, isRightSigner: true }
          const links = defects.map((defect) => defect ?? good)
          const grants = links.map((link, index): Grant => {
            const subject = index === links.length - 1 ? signers[3]! : signers[index + 1]!
            const notBefore = NOW + link.notBefore * HOUR
            const id = Buffer.alloc(16, index)
            return {
              feedId: link.isOwnFeed ? feedId : sha256('other'),
              subject: subject.publicKey,
              verbs: link.verbs,
              notBefore,
              expiresAt: Math.max(0, notBefore + link.hours * HOUR),
              id,
            }
          })
          const encoded = grants.map(
            (grant, index) =>
              signGrant(grant, links[index]!.isRightSigner ? signers[index]! : createSeedSigner(sha256('thief'))).bytes,
          )
          const revoked = grants
            .filter((_, index) => links[index]!.isRevoked)
            .map((grant) => ({ subject: grant.subject, notIssuedBefore: NOW + 9 * HOUR }))
          const asked: ChainQuestion = {
            feedId: feedId.toString('hex'),
            owner: signers[0]!.publicKey,
            asker: question.isRightAsker ? signers[3]!.publicKey : sha256('nobody'),
            verb: question.verb,
            nowMs: NOW,
            revocations: { feedId, list: revoked },
            graceMs: question.graceMs,
          }
          const isGood = (grant: Grant, index: number) =>
            links[index]!.isOwnFeed &&
            links[index]!.isRightSigner &&
            !links[index]!.isRevoked &&
            (grant.verbs & VERBS[question.verb]) !== 0 &&
            (index === grants.length - 1 || (grant.verbs & VERBS.relay) !== 0) &&
            grant.notBefore <= NOW &&
            NOW < grant.expiresAt + question.graceMs &&
            grant.expiresAt - grant.notBefore <= MAX_GRANT_MS
          const mayOpen = grants.length > 0 && question.isRightAsker && grants.every(isGood)
          if (mayOpen) {
            verifyGrantChain(encoded, asked)
            opened += 1
          } else {
            assert.throws(
              () => verifyGrantChain(encoded, asked),
              (error) => isFeedmeshError(error, 'FORBIDDEN'),
            )
          }
        },
      ),
      runsOf(400),
    )
    assert.ok(opened > 20, `${opened}`)
  })
})

test('stamps go up from write to write, and follow the clock', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2 ** 41), { minLength: 1, maxLength: 50 }), (times) => {
      let latest = 0n
      for (const time of times) {
        const stamp = nextStamp(latest, time)
        assert.ok(stamp > latest && stampMs(stamp) >= time)
        latest = stamp
      }
      assert.ok(stampMs(latest) <= Math.max(...times) + 1)
    }),
    runsOf(200),
  )
})
