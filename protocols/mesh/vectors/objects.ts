/** Charters, manifests, deps, revocations, grants, tokens: the signed objects, and the lies about them. */

import { encodeCbor } from '../../../src/catalog/cbor.ts'
import {
  type Charter,
  charterShape,
  DEFAULT_FRESHNESS,
  feedIdBytes,
  feedIdOf,
  signCharter,
  succeedCharter,
} from '../../../src/catalog/charter.ts'
import { hashRevocations, type Revocations, revocationsShape } from '../../../src/catalog/grant.ts'
import { type Deps, depsShape, hashDeps, type Manifest, manifestShape, signManifest } from '../../../src/catalog/manifest.ts'
import { envelopeShape, type Signed, signMessage, signObject } from '../../../src/catalog/signed.ts'
import { stampAt } from '../../../src/catalog/stamp.ts'
import { EMPTY_ROOT } from '../../../src/catalog/trie.ts'
import { HOUR, type Json, noise, signerOf, START, toJson, type Vector } from './vector.ts'

export const hub = signerOf('hub')
export const thief = signerOf('thief')
export const recovery = signerOf('recovery')
export const newHub = signerOf('new hub')

const FIRST: Charter = {
  feedId: null,
  feedType: 'npm',
  owner: hub.publicKey,
  recovery: recovery.publicKey,
  generation: 0,
  epoch: 1,
  version: 1,
  previous: null,
  salt: noise('salt', 16),
  issuedAt: START,
  freshness: DEFAULT_FRESHNESS,
  indexKeys: [],
  includes: [],
  lastGood: null,
}

export const v1 = signCharter(FIRST, hub)
export const feedId = feedIdBytes(feedIdOf(v1))

const INCLUDES: Charter['includes'] = [
  {
    feedId: noise('a source'),
    rank: 'above',
    scope: [],
    rights: { mayDelete: 1, mayTag: 1, mayExtend: 1 },
    through: 4,
  },
  {
    feedId: noise('an offer'),
    rank: 'below',
    scope: ['@site/*', 'tool-??'],
    rights: { mayDelete: 0, mayTag: 0, mayExtend: 0 },
    through: 0,
  },
]

export const v2 = signCharter({ ...succeedCharter(v1, START + HOUR), includes: INCLUDES }, hub)
export const raised = signCharter(
  {
    ...succeedCharter(v2, START + 2 * HOUR),
    epoch: 2,
    indexKeys: [{ kind: 'openpgp', key: Buffer.from('a public key') }],
  },
  hub,
)
export const LAST_GOOD = { epoch: 2, seq: 17, stateRoot: noise('last good state') }
const RECOVERED = {
  ...succeedCharter(raised, START + 3 * HOUR),
  owner: newHub.publicKey,
  generation: 1,
  epoch: 3,
  lastGood: LAST_GOOD,
}
export const recovered = signCharter(RECOVERED, recovery)

function chain(name: string, what: string, charters: readonly Signed<Charter>[], code?: string): Vector {
  const last = charters.at(-1)!
  const { generation, epoch, version } = last.value
  const expected = { feedId: feedIdOf(v1), generation, epoch, version, hash: toJson(last.hash) }
  return {
    folder: `vectors/charters/${name}${code === undefined ? '' : '-refuse'}`,
    kind: 'charter-chain',
    what,
    facts: {
      charters: charters.map((_, index) => `charter-${index + 1}.hex`),
      ...(code === undefined ? { expected, values: charters.map((one) => toJson(one.value)) } : { code }),
    },
    bytes: Object.fromEntries(charters.map((one, index) => [`charter-${index + 1}`, one.bytes])),
  }
}

export function charterVectors(): Vector[] {
  const next = (change: Partial<Charter>) => ({ ...succeedCharter(v1, START + HOUR), ...change })
  const other = signCharter({ ...FIRST, salt: noise('other salt', 16) }, hub)
  return [
    chain('first', 'version 1 names its owner and is signed by it; its hash is the feedId', [v1]),
    chain('second', 'version 2 names version 1 and adds a source and an offer', [v1, v2]),
    chain('epoch-rises', 'the owner raises the epoch by one', [v1, v2, raised]),
    chain('recovery', 'the recovery key raises the generation, replaces the owner and names the last good manifest', [
      v1,
      v2,
      raised,
      recovered,
    ]),
    chain('version-skipped', 'version 3 right after version 1', [v1, signCharter(next({ version: 3 }), hub)], 'FORGED'),
    chain('epoch-jumps', 'the owner raises the epoch by two', [v1, signCharter(next({ epoch: 3 }), hub)], 'FORGED'),
    chain('two-of-one-version', 'the owner signed two charters as version 2', [v1, v2, signCharter(next({}), hub)], 'FORKED'),
    chain('version-twice-by-a-stranger', 'a stranger signed version 2 again: that is no fork', [v1, v2, signCharter(next({}), thief)], 'FORGED'),
    chain('by-a-stranger', 'version 2 is signed by nobody of the feed', [v1, signCharter(next({}), thief)], 'FORGED'),
    chain('first-by-a-stranger', 'version 1 is not signed by the owner it names', [signCharter(FIRST, thief)], 'FORGED'),
    chain('first-is-second', 'a chain that begins with version 2', [v2], 'FORGED'),
    chain('first-in-epoch-2', 'version 1 in epoch 2', [signCharter({ ...FIRST, epoch: 2 }, hub)], 'FORGED'),
    chain('predecessor-unnamed', 'version 2 names another predecessor', [v1, signCharter(next({ previous: noise('x') }), hub)], 'FORGED'),
    chain('of-another-feed', 'version 2 of another feed of the same owner', [v1, signCharter(succeedCharter(other, START), hub)], 'FORGED'),
    chain('owner-changed-by-owner', 'the owner names another owner', [v1, signCharter(next({ owner: newHub.publicKey }), hub)], 'FORGED'),
    chain('recovery-changed-by-owner', 'the owner names another recovery key', [v1, signCharter(next({ recovery: thief.publicKey }), hub)], 'FORGED'),
    chain('generation-raised-by-owner', 'the owner raises the generation', [v1, signCharter(next({ generation: 1, epoch: 2, lastGood: LAST_GOOD }), hub)], 'FORGED'),
    chain('recovery-without-generation', 'the recovery key signs without raising the generation', [v1, signCharter(next({}), recovery)], 'FORGED'),
    chain('recovery-without-last-good', 'the recovery key does not say what still counts', [v1, signCharter(next({ generation: 1, epoch: 2 }), recovery)], 'FORGED'),
    chain('recovery-in-the-same-epoch', 'the recovery key does not raise the epoch', [v1, signCharter(next({ generation: 1, lastGood: LAST_GOOD }), recovery)], 'FORGED'),
    chain('type-changes', 'version 2 is of another feed type', [v1, signCharter(next({ feedType: 'docker' }), hub)], 'FORGED'),
    chain('salt-changes', 'version 2 has another salt', [v1, signCharter(next({ salt: noise('y', 16) }), hub)], 'FORGED'),
  ]
}

const DEPS: Deps = [noise('dep 1'), noise('dep 2')]
  .sort((a, b) => a.compare(b))
  .map((id, index) => ({ feedId: id, epoch: 1, seq: 7 + index, stateRoot: noise(`state ${index}`) }))

const REVOCATIONS: Revocations = { feedId, list: [{ subject: signerOf('revoked').publicKey, notIssuedBefore: START + HOUR }] }

export const MANIFEST: Manifest = {
  feedId,
  charter: v2.hash,
  epoch: 1,
  previousEpochSeq: 0,
  seq: 9,
  refresh: 2,
  previous: noise('manifest before'),
  issuedAt: START + 2 * HOUR,
  expiresAt: START + 26 * HOUR,
  depsRoot: hashDeps(DEPS),
  logSize: 41,
  stateRoot: EMPTY_ROOT.hash,
  entries: 0,
  bytes: 0,
  revocations: hashRevocations(REVOCATIONS),
  logRoot: null,
  partitions: null,
  clock: stampAt(START + 2 * HOUR, 3),
}

export const manifest = (change: Partial<Manifest> = {}, signer = hub): Signed<Manifest> =>
  signManifest({ ...MANIFEST, ...change }, signer)
export const current = manifest()

interface Acceptance {
  readonly name: string
  readonly what: string
  readonly offered: Signed<Manifest>
  readonly floor?: Signed<Manifest>
  readonly nowMs?: number
}

function acceptance(one: Acceptance, outcome: { readonly result: string } | { readonly code: string }): Vector {
  const { floor, offered } = one
  return {
    folder: `vectors/manifests/${one.name}${'code' in outcome ? '-refuse' : ''}`,
    kind: 'manifest-accept',
    what: one.what,
    facts: {
      charter: 'charter.hex',
      ...(floor === undefined ? {} : { floor: 'floor.hex' }),
      manifest: 'manifest.hex',
      nowMs: one.nowMs ?? START + 3 * HOUR,
      ...outcome,
      ...('code' in outcome ? {} : { value: toJson(offered.value), hash: toJson(offered.hash) }),
    },
    bytes: { charter: v2.bytes, manifest: offered.bytes, ...(floor === undefined ? {} : { floor: floor.bytes }) },
  }
}

export function manifestVectors(): Vector[] {
  const accepted: [string, Acceptance][] = [
    ['advance', { name: 'first', what: 'the first manifest that is seen of a feed', offered: current }],
    ['advance', { name: 'expired', what: 'an expired manifest counts: it is stale, not void', offered: current, nowMs: START + 900 * HOUR }],
    ['same', { name: 'same', what: 'the manifest that is here already', offered: current, floor: current }],
    ['refresh', { name: 'refresh', what: 'the same state, signed again', offered: manifest({ refresh: 3, issuedAt: START + 3 * HOUR }), floor: current }],
    ['advance', { name: 'next', what: 'the next state', offered: manifest({ seq: 10, refresh: 0, stateRoot: noise('next') }), floor: current }],
    ['advance', { name: 'clock-a-little-ahead', what: 'issued less than five minutes ahead', offered: current, nowMs: START + 2 * HOUR - 299_999 }],
  ]
  const next = { seq: 10, refresh: 0, stateRoot: noise('next') }
  const refused: [string, Acceptance][] = [
    ['ROLLED_BACK', { name: 'rolled-back', what: 'an older state', offered: manifest({ seq: 8 }), floor: current }],
    ['ROLLED_BACK', { name: 'refresh-replayed', what: 'an older signing of the same state', offered: manifest({ refresh: 1 }), floor: current }],
    ['FORKED', { name: 'forked-state', what: 'two states under one number', offered: manifest({ stateRoot: noise('fork') }), floor: current }],
    ['FORKED', { name: 'forked-log', what: 'two logs under one number', offered: manifest({ refresh: 3, logSize: 42 }), floor: current }],
    ['FORKED', { name: 'forked-past', what: 'two pasts under one number', offered: manifest({ refresh: 3, previous: null }), floor: current }],
    ['FORGED', { name: 'feed-swapped', what: 'a manifest of another feed of the same owner', offered: manifest({ ...next, feedId: noise('other') }), floor: current }],
    ['FORGED', { name: 'by-a-stranger', what: 'not signed by the owner', offered: manifest(next, thief), floor: current }],
    ['FORGED', { name: 'by-the-recovery-key', what: 'signed by the recovery key, which signs charters only', offered: manifest(next, recovery), floor: current }],
    ['FORGED', { name: 'older-charter', what: 'under a charter that is no longer in force', offered: manifest({ ...next, charter: v1.hash }), floor: current }],
    ['FORGED', { name: 'other-epoch', what: 'of another epoch than the charter', offered: manifest({ ...next, epoch: 2 }), floor: current }],
    ['PEER_INVALID', { name: 'issued-in-the-future', what: 'issued more than five minutes ahead', offered: current, nowMs: START + 2 * HOUR - 300_001 }],
    ['PEER_INVALID', { name: 'issued-after-time', what: 'issued beyond every calendar', offered: manifest({ issuedAt: 9e15, expiresAt: 9e15 }) }],
    ['PEER_INVALID', { name: 'expires-before-issue', what: 'expires before it is issued', offered: manifest({ expiresAt: START }) }],
    ['PEER_INVALID', { name: 'future-stamp', what: 'says that a row is stamped in the future', offered: manifest({ clock: stampAt(START + 5 * HOUR) }) }],
  ]
  return [
    ...accepted.map(([result, one]) => acceptance(one, { result })),
    ...refused.map(([code, one]) => acceptance(one, { code })),
  ]
}

export function listVectors(): Vector[] {
  const hashed = (name: string, shape: string, bytes: Uint8Array, facts: { value: Json; hash: Json }): Vector => ({
    folder: `vectors/lists/${name}`,
    kind: 'hashed-list',
    what: `the ${shape} of a manifest and their hash`,
    facts: { shape, bytes: 'bytes.hex', ...facts },
    bytes: { bytes },
  })
  const deps = (name: string, value: Deps) =>
    hashed(name, 'deps', encodeCbor(depsShape, value), { value: toJson(value), hash: toJson(hashDeps(value)) })
  const revocations = (name: string, value: Revocations) =>
    hashed(name, 'revocations', encodeCbor(revocationsShape, value), {
      value: toJson(value),
      hash: toJson(hashRevocations(value)),
    })
  return [
    deps('deps-none', []),
    deps('deps-two', DEPS),
    revocations('revocations-none', { feedId, list: [] }),
    revocations('revocations-one', REVOCATIONS),
  ]
}

function envelope(payload: Uint8Array, signature: Uint8Array, signer = hub.publicKey): Uint8Array {
  return encodeCbor(envelopeShape, { payload, signer, signature })
}

/** `payload` of other bytes than the deterministic ones, properly signed. */
function signedPayload(domain: 'charter' | 'manifest', payload: Uint8Array): Uint8Array {
  return envelope(payload, signMessage(domain, payload, hub))
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = copy[at]! ^ 1
  return copy
}

export function envelopeVectors(): Vector[] {
  const refuse = (name: string, what: string, bytes: Uint8Array, code: string): Vector => ({
    folder: `vectors/envelopes/${name}-refuse`,
    kind: 'signed',
    what,
    facts: { domain: 'manifest', bytes: 'bytes.hex', code },
    bytes: { bytes },
  })
  const filled = (name: string, what: string, start: Uint8Array, fill: { byte: number; count: number }): Vector => {
    const vector = refuse(name, what, start, 'PEER_INVALID')
    return { ...vector, facts: { ...vector.facts, fill } }
  }
  const payload = encodeCbor(manifestShape, MANIFEST)
  const longHead = Buffer.concat([Buffer.from('b812', 'hex'), payload.subarray(1)])
  const swapped = Buffer.concat([payload.subarray(0, 1), payload.subarray(36, 71), payload.subarray(1, 36), payload.subarray(71)])
  const asCharter = signObject('charter', charterShape, v1.value, hub)
  const { bytes } = current
  return [
    {
      folder: 'vectors/envelopes/manifest',
      kind: 'signed',
      what: 'a signed manifest: payload, key, signature; its hash names it',
      facts: {
        domain: 'manifest',
        bytes: 'bytes.hex',
        signer: toJson(hub.publicKey),
        hash: toJson(current.hash),
        value: toJson(MANIFEST),
        signed: 'signed.hex',
      },
      bytes: { bytes, signed: Buffer.concat([Buffer.from('feedmesh/manifest/1\0'), payload]) },
    },
    refuse('signature-forged', 'one bit of the signature is another', flipped(bytes, bytes.length - 1), 'FORGED'),
    refuse('payload-changed', 'one bit of the payload is another', flipped(bytes, 60), 'FORGED'),
    refuse('key-changed', 'the signature is of another key', envelope(payload, signMessage('manifest', payload, hub), thief.publicKey), 'FORGED'),
    refuse('signature-of-another-domain', 'the payload was signed as a charter', envelope(payload, signMessage('charter', payload, hub)), 'FORGED'),
    refuse('charter-as-manifest', 'a charter where a manifest is wanted', asCharter.bytes, 'FORGED'),
    refuse('cut-off', 'the last byte is missing', bytes.subarray(0, -1), 'PEER_INVALID'),
    refuse('byte-too-many', 'one byte follows', Buffer.concat([bytes, Buffer.of(0)]), 'PEER_INVALID'),
    refuse('head-too-long', 'the head of the payload’s map is not the shortest', signedPayload('manifest', longHead), 'PEER_INVALID'),
    refuse('keys-out-of-order', 'keys 1 and 2 of the payload change places', signedPayload('manifest', swapped), 'PEER_INVALID'),
    refuse('field-missing', 'the payload has no key 18', signedPayload('manifest', Buffer.concat([Buffer.of(0xb1), payload.subarray(1, -10)])), 'PEER_INVALID'),
    filled('oversize', 'more than 256 KiB', bytes, { byte: 0, count: 256 * 1024 }),
    refuse('empty', 'no bytes', new Uint8Array(0), 'PEER_INVALID'),
    filled('many-maps', 'bytes that would take two hundred times as much memory', Buffer.from('9a0003f000', 'hex'), { byte: 0xa0, count: 0x3_f000 }),
    filled('nested-too-deep', 'lists in lists', Buffer.of(0x81), { byte: 0x81, count: 1000 }),
  ]
}
