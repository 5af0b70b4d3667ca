/** Grants and their chains, tokens, join codes, and the proof that a token makes on one connection. */

import { encodeCbor } from '../../../src/catalog/cbor.ts'
import { type Grant, type Revocations, signGrant, VERBS } from '../../../src/catalog/grant.ts'
import { signMessage, type Signer } from '../../../src/catalog/signed.ts'
import { deriveLinkSigner, type JoinCode, renderJoinCode, renderToken, type SyncToken } from '../../../src/catalog/token.ts'
import { encodeTranscript, hashHello, type Hello, helloShape, type LinkTerms, type Transcript } from '../link/messages.ts'
import { feedId, hub } from './objects.ts'
import { HOUR, noise, signerOf, START, toJson, type Vector } from './vector.ts'

const relay = signerOf('relay')
const leaf = signerOf('leaf')
const stranger = signerOf('stranger')

const ALL = VERBS.read | VERBS.relay
const NOW = START + 2 * HOUR

function grantTo(subject: Signer, change: Partial<Grant> = {}): Grant {
  const id = noise(`grant for ${Buffer.from(subject.publicKey).toString('hex')}`, 16)
  const times = { notBefore: START, expiresAt: START + 24 * HOUR }
  return { feedId, subject: subject.publicKey, verbs: ALL, ...times, id, ...change }
}

const link = (issuer: Signer, subject: Signer, change: Partial<Grant> = {}): Uint8Array =>
  signGrant(grantTo(subject, change), issuer).bytes

interface Question {
  readonly verb?: string
  readonly nowMs?: number
  readonly graceMs?: number
  readonly asker?: Signer
  readonly revoked?: Revocations['list']
}

function chain(name: string, what: string, links: readonly Uint8Array[], question: Question & { readonly code?: string }): Vector {
  const { verb = 'read', nowMs = NOW, graceMs = 0, asker = leaf, revoked = [], code } = question
  return {
    folder: `vectors/grants/${name}${code === undefined ? '' : '-refuse'}`,
    kind: 'grant-chain',
    what,
    facts: {
      links: links.map((_, index) => `link-${index + 1}.hex`),
      question: {
        feedId: toJson(feedId),
        owner: toJson(hub.publicKey),
        asker: toJson(asker.publicKey),
        verb,
        nowMs,
        graceMs,
        revocations: toJson({ feedId, list: revoked }),
      },
      ...(code === undefined ? {} : { code }),
    },
    bytes: Object.fromEntries(links.map((bytes, index) => [`link-${index + 1}`, bytes])),
  }
}

/** From the owner through seven relays to the leaf, with `count` links. */
function longChain(count: number): Uint8Array[] {
  const signers = [hub, ...Array.from({ length: count - 1 }, (_, index) => signerOf(`relay ${index}`)), leaf]
  return signers.slice(1).map((subject, index) => link(signers[index]!, subject))
}

export function grantVectors(): Vector[] {
  const no = { code: 'FORBIDDEN' }
  const direct = [link(hub, leaf)]
  const through = [link(hub, relay), link(relay, leaf)]
  return [
    chain('direct', 'the owner grants the asker', direct, {}),
    chain('through-a-relay', 'the owner grants a relay, the relay the asker', through, {}),
    chain('of-eight', 'as long as a chain may be', longChain(8), {}),
    chain('in-grace', 'expired, while the owner is silent', direct, { nowMs: START + 25 * HOUR, graceMs: 48 * HOUR }),
    chain('revoked-earlier', 'issued after the revocation of what was before', direct, {
      revoked: [{ subject: leaf.publicKey, notIssuedBefore: START }],
    }),
    chain('of-none', 'no link', [], no),
    chain('of-nine', 'one link too many', longChain(9), no),
    chain('expired', 'expired to the millisecond', direct, { ...no, nowMs: START + 24 * HOUR }),
    chain('grace-over', 'the grace is over', direct, { ...no, nowMs: START + 72 * HOUR, graceMs: 48 * HOUR }),
    chain('not-valid-yet', 'a millisecond too early', direct, { ...no, nowMs: START - 1 }),
    chain('too-long', 'lasts longer than 24 hours', [link(hub, leaf, { expiresAt: START + 24 * HOUR + 1 })], no),
    chain('of-another-feed', 'for another feed', [link(hub, leaf, { feedId: noise('other') })], no),
    chain('of-another-feed-later', 'the second link is for another feed', [link(hub, relay), link(relay, leaf, { feedId: noise('other') })], no),
    chain('of-another-subject', 'for another peer', direct, { ...no, asker: stranger }),
    chain('of-a-relay-shown-by-another', 'the relay’s own grant, shown by the asker', [link(hub, relay)], no),
    chain('of-another-verb', 'offers, and may not read', [link(hub, leaf, { verbs: VERBS.offer })], no),
    chain('verb-lost-on-the-way', 'the relay may not read itself', [link(hub, relay, { verbs: VERBS.relay }), link(relay, leaf)], no),
    chain('without-relay', 'the relay may not hand on', [link(hub, relay, { verbs: VERBS.read }), link(relay, leaf)], no),
    chain('by-a-stranger', 'signed by nobody the owner granted', [link(stranger, leaf)], no),
    chain('broken', 'the second link is signed by another than the first is for', [link(hub, relay), link(stranger, leaf)], no),
    chain('out-of-order', 'the links change places', through.toReversed(), no),
    chain('revoked', 'issued before its subject was revoked', direct, {
      ...no,
      revoked: [{ subject: leaf.publicKey, notIssuedBefore: START + 1 }],
    }),
    chain('relay-revoked', 'the relay on the way was revoked', through, {
      ...no,
      revoked: [{ subject: relay.publicKey, notIssuedBefore: START + 1 }],
    }),
    chain('forged', 'a bit of the signature is another', [flipped(direct[0]!)], { code: 'FORGED' }),
  ]
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[copy.length - 1] = copy[copy.length - 1]! ^ 1
  return copy
}

const TOKEN: SyncToken = { id: noise('token id', 8), incoming: hub.publicKey, feedIds: [feedId], secret: noise('secret') }
const JOIN: JoinCode = {
  token: TOKEN,
  addresses: ['/dns4/hub.example.net/tcp/4001/p2p/12D3KooW', '/ip4/192.0.2.7/tcp/4001'],
  feeds: [{ name: 'packages', feedType: 'npm' }],
  mode: 'push',
}

function flipCharacter(text: string, at: number): string {
  return text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
}

export function tokenVectors(): Vector[] {
  const token = renderToken(TOKEN)
  const vector = (name: string, what: string, facts: Vector['facts']): Vector => ({
    folder: `vectors/tokens/${name}${'code' in facts ? '-refuse' : ''}`,
    kind: 'token',
    what,
    facts,
    bytes: {},
  })
  const refuse = (name: string, what: string, text: string) =>
    vector(name, what, { form: 'token', text, code: 'TOKEN_MISTYPED' })
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  // 34 bytes more: the last character then has bits to spare.
  const longer = renderToken({ ...TOKEN, feedIds: [feedId, noise('other feed')] })
  const last = alphabet.indexOf(longer.at(-1)!)
  return [
    vector('token', 'a sync token as it is printed, and the public key that its maker keeps', {
      form: 'token',
      text: token,
      value: toJson(TOKEN),
      linkKey: toJson(deriveLinkSigner(TOKEN).publicKey),
    }),
    vector('join-code', 'a join code as it is printed', { form: 'join-code', text: renderJoinCode(JOIN), value: toJson(JOIN) }),
    refuse('character-flipped', 'one character is another', flipCharacter(token, 40)),
    refuse('last-bits', 'the last character has bits that are no part of the bytes', longer.slice(0, -1) + alphabet[last ^ 1]!),
    refuse('cut-off', 'the last characters are missing', token.slice(0, -4)),
    refuse('padded', 'with the padding that base64url has no need of', `${token}=`),
    refuse('foreign-character', 'with a character of another alphabet', `${token.slice(0, 30)}+${token.slice(31)}`),
    refuse('prefix-of-another', 'a join code where a token is wanted', renderJoinCode(JOIN)),
    refuse('prefix-changed', 'another version', token.replace('fmt1_', 'fmt2_')),
    refuse('empty', 'nothing', ''),
  ]
}

export const HELLO: Hello = {
  protocols: ['/feedmesh/link/1', '/feedmesh/sync/1', '/feedmesh/blob/1'],
  software: 'feedmesh/0.1.0',
  capabilities: [],
  clock: START,
  instance: noise('instance', 16),
  nonce: noise('nonce'),
  site: 'berlin',
  region: 'eu',
}
const ANSWER: Hello = { ...HELLO, nonce: noise('other nonce'), instance: noise('other instance', 16), site: '' }

export const TERMS: LinkTerms = {
  communication: 'outgoing',
  mode: 'pull',
  pairs: [{ remote: feedId, local: noise('local feed'), feedType: 'npm', localName: 'packages' }],
  scope: [],
}

export function proofVectors(): Vector[] {
  const steps: [Transcript['step'], LinkTerms | null][] = [
    ['describe', null],
    ['link', TERMS],
  ]
  return steps.map(([step, terms]) => {
    const transcript: Transcript = {
      step,
      askerHello: hashHello(HELLO),
      answererHello: hashHello(ANSWER),
      asker: leaf.publicKey,
      answerer: hub.publicKey,
      tokenId: TOKEN.id,
      terms,
    }
    const bytes = encodeTranscript(transcript)
    return {
      folder: `link/vectors/proof-${step}`,
      kind: 'link-proof',
      what: `what the key of a token signs to ${step}`,
      facts: {
        token: renderToken(TOKEN),
        askerHello: { bytes: 'asker-hello.hex', hash: toJson(hashHello(HELLO)) },
        answererHello: { bytes: 'answerer-hello.hex', hash: toJson(hashHello(ANSWER)) },
        transcript: 'transcript.hex',
        value: toJson(transcript),
        proof: toJson(signMessage('link', bytes, deriveLinkSigner(TOKEN))),
      },
      bytes: {
        'asker-hello': encodeCbor(helloShape, HELLO),
        'answerer-hello': encodeCbor(helloShape, ANSWER),
        transcript: bytes,
      },
    }
  })
}
