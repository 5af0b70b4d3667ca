/** Proofs of forks and the lies about them; which of two chains of charters counts. */

import { encodeCbor } from '../../../src/catalog/cbor.ts'
import { type Charter, feedIdOf, signCharter, succeedCharter } from '../../../src/catalog/charter.ts'
import { createForkProof, type ForkProof, forkProofShape } from '../../../src/catalog/fork-proof.ts'
import type { Signed, Signer } from '../../../src/catalog/signed.ts'
import { current, feedId, hub, LAST_GOOD, manifest, newHub, raised, recovered, recovery, thief, v1, v2 } from './objects.ts'
import { HOUR, type Json, noise, START, toJson, type Vector } from './vector.ts'

const otherState = manifest({ stateRoot: noise('fork'), refresh: 0 })
export const MANIFEST_FORK: ForkProof = createForkProof('manifest', current, otherState)

const next = (change: Partial<Charter> = {}, signer: Signer = hub) =>
  signCharter({ ...succeedCharter(v1, START + HOUR), ...change }, signer)
const otherV2 = next()
const CHARTER_FORK = createForkProof('charter', v2, otherV2)

type Chain = readonly Signed<Charter>[]

function chainBytes(name: string, chain: Chain): { readonly files: Json; readonly bytes: Record<string, Uint8Array> } {
  return {
    files: chain.map((_, index) => `${name}-${index + 1}.hex`),
    bytes: Object.fromEntries(chain.map((one, index) => [`${name}-${index + 1}`, one.bytes])),
  }
}

interface Case {
  readonly name: string
  readonly what: string
  readonly proof: ForkProof
  readonly chain?: Chain
}

function proofVector({ name, what, proof, chain = [v1, v2] }: Case, outcome: { readonly [name: string]: Json }): Vector {
  const charters = chainBytes('charter', chain)
  return {
    folder: `vectors/forks/${name}${'code' in outcome ? '-refuse' : ''}`,
    kind: 'fork-proof',
    what,
    facts: { proof: 'proof.hex', charters: charters.files, ...outcome },
    bytes: { ...charters.bytes, proof: encodeCbor(forkProofShape, proof) },
  }
}

function swapped({ of, first, second }: ForkProof): ForkProof {
  return { of, first: second, second: first }
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[copy.length - 1] = copy.at(-1)! ^ 1
  return copy
}

export function forkVectors(): Vector[] {
  const says = (number: number) => ({ expected: { feedId: toJson(feedId), generation: 0, epoch: 1, number } })
  const byThief = createForkProof('manifest', manifest({}, thief), manifest({ stateRoot: noise('fork') }, thief))
  const mixed = createForkProof('manifest', current, manifest({ stateRoot: noise('fork') }, thief))
  const ofManifests = (name: string, what: string, other: Parameters<typeof manifest>[0]): Case => ({
    name,
    what,
    proof: createForkProof('manifest', current, manifest(other)),
  })
  const refused: [string, Case][] = [
    ['FORGED', ofManifests('refresh-is-none', 'the same state signed twice is no fork', { refresh: 3 })],
    ['FORGED', ofManifests('next-is-none', 'two states under two numbers are no fork', { seq: 10 })],
    ['FORGED', ofManifests('other-epoch-is-none', 'two states of two epochs are no fork', { epoch: 2 })],
    ['FORGED', ofManifests('other-feed-is-none', 'states of two feeds are no fork', { feedId: noise('other') })],
    ['PEER_INVALID', { name: 'same-twice', what: 'one manifest twice', proof: { of: 'manifest', first: current.bytes, second: current.bytes } }],
    ['PEER_INVALID', { name: 'wrong-order', what: 'the greater hash comes first', proof: swapped(MANIFEST_FORK) }],
    ['FORGED', { name: 'by-a-stranger', what: 'a stranger signed both', proof: byThief }],
    ['FORGED', { name: 'by-two-keys', what: 'a stranger signed one of them', proof: mixed }],
    ['FORGED', { name: 'signature-forged', what: 'one bit of a signature is another', proof: { ...MANIFEST_FORK, second: flipped(MANIFEST_FORK.second) } }],
    ['FORGED', { name: 'charters-as-manifests', what: 'charters where manifests are said to be', proof: { ...CHARTER_FORK, of: 'manifest' } }],
    ['FORGED', { name: 'charters-that-follow', what: 'version 1 and version 2 are no fork', proof: createForkProof('charter', v1, v2) }],
    ['FORGED', { name: 'charters-by-a-stranger', what: 'a stranger signed version 2 twice', proof: createForkProof('charter', next({}, thief), next({ issuedAt: START }, thief)) }],
    ['PEER_INVALID', { name: 'no-envelope', what: 'bytes that are no envelope', proof: { of: 'manifest', first: Buffer.of(0xa0), second: Buffer.of(0xa0) } }],
  ]
  return [
    proofVector({ name: 'manifests', what: 'two states as seq 9 of epoch 1', proof: MANIFEST_FORK }, says(9)),
    proofVector(ofManifests('logs', 'one state, two logs', { logSize: 42 }), says(9)),
    proofVector(ofManifests('pasts', 'one state, two pasts', { previous: null }), says(9)),
    proofVector({ name: 'charters', what: 'two charters as version 2', proof: CHARTER_FORK }, says(2)),
    proofVector({ name: 'charters-seen-from-before', what: 'neither of the two charters is here yet', proof: CHARTER_FORK, chain: [v1] }, says(2)),
    proofVector({ name: 'of-an-epoch-gone-by', what: 'the epoch has risen since: the fork is over', proof: MANIFEST_FORK, chain: [v1, v2, raised] }, { expected: null }),
    proofVector({ name: 'of-an-overruled-generation', what: 'the recovery key has overruled it', proof: CHARTER_FORK, chain: [v1, v2, raised, recovered] }, { expected: null }),
    ...refused.map(([code, one]) => proofVector(one, { code })),
  ]
}

function choice(name: string, what: string, chains: { readonly known: Chain; readonly offered: Chain }, outcome: { readonly [name: string]: Json }): Vector {
  const [known, offered] = [chainBytes('known', chains.known), chainBytes('offered', chains.offered)]
  return {
    folder: `vectors/charter-choices/${name}`,
    kind: 'charter-choice',
    what,
    facts: { known: known.files, offered: offered.files, feedId: feedIdOf(v1), ...outcome },
    bytes: { ...known.bytes, ...offered.bytes },
  }
}

export function choiceVectors(): Vector[] {
  const after = (charter: Signed<Charter>, change: Partial<Charter>, signer: Signer = hub) =>
    signCharter({ ...succeedCharter(charter, START + 4 * HOUR), ...change }, signer)
  const thiefs = after(after(v2, { epoch: 2 }), { epoch: 3 })
  const thiefsChain = [v1, v2, after(v2, { epoch: 2 }), thiefs]
  const rescued = after(v1, { generation: 1, epoch: 2, owner: newHub.publicKey, lastGood: { ...LAST_GOOD, epoch: 1 } }, recovery)
  const restored = after(v1, { epoch: 2 })
  return [
    choice('follows', 'theirs goes on where ours ends', { known: [v1], offered: [v1, v2] }, { result: 'newer', from: 2 }),
    choice('same', 'both have the same', { known: [v1, v2], offered: [v1, v2] }, { result: 'nothing new' }),
    choice('shorter', 'theirs ends before ours', { known: [v1, v2], offered: [v1] }, { result: 'nothing new' }),
    choice('recovery-beats-later-epochs', 'the recovery key overrules the later versions and epochs of a thief of the owner’s key', { known: thiefsChain, offered: [v1, rescued] }, { result: 'newer', from: 2 }),
    choice('thief-is-overruled', 'what a thief signed does not count any more', { known: [v1, rescued], offered: thiefsChain }, { result: 'overruled' }),
    choice('epoch-beats-versions', 'an owner who lost version 2 goes on in a new epoch', { known: [v1, v2], offered: [v1, restored] }, { result: 'newer', from: 2 }),
    choice('epoch-gone-by', 'the version that was lost does not count any more', { known: [v1, restored], offered: [v1, v2] }, { result: 'overruled' }),
    choice('forked', 'two charters of one number: neither counts for who has the other', { known: [v1, v2], offered: [v1, otherV2] }, { result: 'forked' }),
  ]
}
