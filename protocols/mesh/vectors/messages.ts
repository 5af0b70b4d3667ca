/** One of every message of the protocols. */

import { announcement, type Announcement } from '../announce/messages.ts'
import { BLOB_PROTOCOL, type BlobReply, type BlobRequest, blobReply, blobRequest } from '../blob/messages.ts'
import { type BulkReply, type BulkRequest, bulkOpening, bulkReply, bulkRequest } from '../bulk/messages.ts'
import { type LinkReply, type LinkRequest, linkReply, linkRequest } from '../link/messages.ts'
import { type NearbyReply, type NearbyRequest, nearbyReply, nearbyRequest } from '../nearby/messages.ts'
import { type SyncReply, type SyncRequest, syncReply, syncRequest } from '../sync/messages.ts'
import { encodeCbor, type Shape } from '../../../src/catalog/cbor.ts'
import { signGrant } from '../../../src/catalog/grant.ts'
import { peerIdFromPublicKey } from '../../../src/catalog/peer-id.ts'
import { HELLO, TERMS } from './access.ts'
import { MANIFEST_FORK } from './forks.ts'
import { current, feedId, hub, MANIFEST, v2 } from './objects.ts'
import { storedFrame } from './tries.ts'
import { HOUR, noise, signerOf, START, toJson, type Vector } from './vector.ts'

const stateRoot = noise('state')
const digest = `sha256:${noise('blob').toString('hex')}`
const error = { kind: 'error', code: 'NOT_FOUND', message: 'no such feed or file here, or this peer may not read it' } as const
const grant = signGrant(
  { feedId, subject: signerOf('leaf').publicKey, verbs: 5, notBefore: START, expiresAt: START + HOUR, id: noise('id', 16) },
  hub,
)

const SYNC_REQUESTS: readonly SyncRequest[] = [
  { kind: 'head', feedId, charterVersion: 2, epoch: 1, seq: 8, refresh: 0, charter: v2.hash, manifest: current.hash, logSize: 40 },
  { kind: 'nodes', feedId, stateRoot, paths: ['', '0', 'fe', '0123456789abcdef'], wide: 1 },
  { kind: 'rows', feedId, stateRoot, wants: [{ path: 'a7', hints: Buffer.concat([noise('h', 8), noise('i', 8)]) }] },
  { kind: 'subtree', feedId, stateRoot, path: '3', after: noise('place') },
  { kind: 'tail', feedId, stateRoot, epoch: 1, from: 40, to: 41 },
]

const SYNC_REPLIES: readonly SyncReply[] = [
  error,
  { kind: 'head', charters: [v2.bytes], manifest: current.bytes, deps: [], revocations: { feedId, list: [] }, logFrom: 12, tail: { data: storedFrame(Buffer.of(0, 0, 0, 1, 7)), rawBytes: 5 }, fork: MANIFEST_FORK },
  { kind: 'nodes', nodes: [Buffer.of(0), Buffer.concat([Buffer.of(1), noise('hint', 8)])] },
  { kind: 'segment', data: storedFrame(Buffer.of(0, 0, 0, 1, 7)), rawBytes: 5, more: 0 },
]

const LINK_REQUESTS: readonly LinkRequest[] = [
  { kind: 'hello', ...HELLO },
  { kind: 'describe', tokenId: noise('token id', 8), proof: Buffer.concat([noise('p'), noise('q')]) },
  { kind: 'link', tokenId: null, terms: TERMS, proof: null },
  { kind: 'confirm', feedId, digest: stateRoot, entries: 7, problem: { code: 'STORAGE_FULL', message: 'the disk is full' } },
  { kind: 'grant', feedId },
  { kind: 'poke', feedId },
]

const described = [{ feedId, name: 'packages', feedType: 'npm' }]
const LINK_REPLIES: readonly LinkReply[] = [
  { ...error, code: 'TOKEN_UNKNOWN', message: 'this node has no such token' },
  { kind: 'hello', ...HELLO },
  { kind: 'described', feeds: described, communication: 'incoming', mode: 'push' },
  { kind: 'linked', feeds: described },
  { kind: 'confirmed', digest: stateRoot, entries: 7 },
  { kind: 'granted', chain: [grant.bytes] },
  { kind: 'poked', state: 'succeeded', items: 3, bytes: 104_217, message: '' },
]

const BLOB_REQUESTS: readonly BlobRequest[] = [{ kind: 'get', feedId, unit: 'left-pad', key: 'v/1.0.0', digest, offset: 65_536, length: null }]
const RANGE_REQUEST: BlobRequest = { kind: 'get', feedId, unit: 'left-pad', key: 'v/1.0.0', digest, offset: 8_388_608, length: 4_194_304 }
const BLOB_REPLIES: readonly BlobReply[] = [error, { kind: 'bytes', length: 38_681 }]

const BULK_REQUESTS: readonly BulkRequest[] = [{ kind: 'find' }]
const BULK_REPLIES: readonly BulkReply[] = [error, { kind: 'lane', port: 8626, addresses: ['hub.example:8626', '[2001:db8::1]:8626'], protocols: [BLOB_PROTOCOL] }]

const NEAR_ADDRESSES = ['/ip4/192.0.2.7/tcp/4001', '/dns4/spoke.example.net/tcp/4001']
const NEARBY_REQUESTS: readonly NearbyRequest[] = [
  { kind: 'introduce', feedId, addresses: NEAR_ADDRESSES, site: 'berlin', region: 'eu', serve: 'region', availability: 'full' },
  { kind: 'show', feedId, chain: [grant.bytes] },
  { kind: 'follow', feedId },
]
const introduced = [{ peerId: peerIdFromPublicKey(signerOf('leaf').publicKey), addresses: NEAR_ADDRESSES, site: 'berlin', region: 'eu', availability: 'on-demand' }] as const
const NEARBY_REPLIES: readonly NearbyReply[] = [
  error,
  { kind: 'introduced', feedId, peers: introduced },
  { kind: 'shown', feedId },
  { kind: 'followed', feedId, availability: 'full' },
  { kind: 'newcomers', feedId, peers: introduced },
  {
    kind: 'news',
    feedId,
    at: { epoch: 1, seq: 8 },
    isAtWork: true,
    blobs: [
      { digest, isWhole: false, runs: [{ first: 0, count: 3 }, { first: 7, count: 1 }] },
      { digest: `sha256:${noise('other blob').toString('hex')}`, isWhole: true, runs: [] },
    ],
  },
  { kind: 'gone', feedId },
]

const ANNOUNCEMENT: Announcement = { feedId, epoch: MANIFEST.epoch, seq: MANIFEST.seq, refresh: MANIFEST.refresh, hash: current.hash, manifest: current.bytes }

/** Bytes that are nearly a message. */
function lies(folder: string, shape: string, whole: Uint8Array): Vector[] {
  const refuse = (name: string, what: string, bytes: Uint8Array): Vector => ({
    folder: `${folder}/${shape}-${name}-refuse`,
    kind: 'cbor',
    what,
    facts: { shape, bytes: 'bytes.hex', code: 'PEER_INVALID' },
    bytes: { bytes },
  })
  return [
    refuse('kind-unknown', 'a message of kind 23', Buffer.concat([whole.subarray(0, 2), Buffer.of(23), whole.subarray(3)])),
    refuse('cut-off', 'the last byte is missing', whole.subarray(0, -1)),
    refuse('byte-too-many', 'one byte follows', Buffer.concat([whole, Buffer.of(0)])),
    refuse('not-a-map', 'a list', Buffer.of(0x80)),
    refuse('fields-missing', 'nothing but the kind', Buffer.of(0xa1, 0, whole[2]!)),
  ]
}

function accept<T>(folder: string, name: string, message: { readonly shape: string; readonly of: Shape<T>; readonly value: T }): Vector {
  const { shape, of, value } = message
  return {
    folder: `${folder}/${name}`,
    kind: 'cbor',
    what: `a message ${shape}`,
    facts: { shape, bytes: 'bytes.hex', value: toJson(value) },
    bytes: { bytes: encodeCbor(of, value) },
  }
}

function messagesOf<T extends { readonly kind: string }>(folder: string, shape: string, of: Shape<T>, values: readonly T[]): Vector[] {
  const vectors = values.map((value) => accept(folder, `${shape}-${value.kind}`, { shape, of, value }))
  return [...vectors, ...lies(folder, shape, vectors.at(-1)!.bytes.bytes!)]
}

export function messageVectors(): Vector[] {
  return [
    ...messagesOf('sync/vectors/messages', 'sync-request', syncRequest, SYNC_REQUESTS),
    ...messagesOf('sync/vectors/messages', 'sync-reply', syncReply, SYNC_REPLIES),
    ...messagesOf('link/vectors/messages', 'link-request', linkRequest, LINK_REQUESTS),
    ...messagesOf('link/vectors/messages', 'link-reply', linkReply, LINK_REPLIES),
    ...messagesOf('blob/vectors/messages', 'blob-request', blobRequest, BLOB_REQUESTS),
    accept('blob/vectors/messages', 'blob-request-get-range', { shape: 'blob-request', of: blobRequest, value: RANGE_REQUEST }),
    ...messagesOf('blob/vectors/messages', 'blob-reply', blobReply, BLOB_REPLIES),
    ...messagesOf('nearby/vectors/messages', 'nearby-request', nearbyRequest, NEARBY_REQUESTS),
    ...messagesOf('nearby/vectors/messages', 'nearby-reply', nearbyReply, NEARBY_REPLIES),
    accept('announce/vectors', 'announcement', { shape: 'announcement', of: announcement, value: ANNOUNCEMENT }),
    ...messagesOf('bulk/vectors/messages', 'bulk-reply', bulkReply, BULK_REPLIES),
    ...BULK_REQUESTS.map((value) => accept('bulk/vectors/messages', `bulk-request-${value.kind}`, { shape: 'bulk-request', of: bulkRequest, value })),
    accept('bulk/vectors/messages', 'bulk-opening', { shape: 'bulk-opening', of: bulkOpening, value: { protocol: BLOB_PROTOCOL } }),
    pathVector(),
    laterKey(),
  ]
}

function pathVector(): Vector {
  const value: SyncRequest = { kind: 'nodes', feedId, stateRoot, paths: ['0G'], wide: 0 }
  return {
    folder: 'sync/vectors/messages/sync-request-path-refuse',
    kind: 'cbor',
    what: 'a path that is no hex digits',
    facts: { shape: 'sync-request', bytes: 'bytes.hex', code: 'PEER_INVALID' },
    bytes: { bytes: encodeCbor(syncRequest, value) },
  }
}

/** A later minor version may add keys: readers skip them. */
function laterKey(): Vector {
  const known = encodeCbor(blobReply, { kind: 'bytes', length: 5 })
  return {
    folder: 'blob/vectors/messages/blob-reply-later-key',
    kind: 'cbor',
    what: 'a message with a key that is not known here',
    facts: { shape: 'blob-reply', bytes: 'bytes.hex', value: toJson({ kind: 'bytes', length: 5 }), isReadOnly: true },
    bytes: { bytes: Buffer.concat([Buffer.of(0xa3), known.subarray(1), Buffer.from('182a80', 'hex')]) },
  }
}
