/** A feed whose owner signs whatever it is told to: for adoption by real nodes. */

import {
  type Charter,
  DEFAULT_FRESHNESS,
  type FeedId,
  feedIdBytes,
  feedIdOf,
  type Inclusion,
  signCharter,
  succeedCharter,
} from '../../src/catalog/charter.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { hashRevocations } from '../../src/catalog/grant.ts'
import { hashDeps, type Manifest, signManifest } from '../../src/catalog/manifest.ts'
import { encodeRow, placeOf, type Row, rowDigest } from '../../src/catalog/row.ts'
import type { Signed, Signer } from '../../src/catalog/signed.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { buildTrie } from '../../src/catalog/trie.ts'
import type { ReceivedState } from '../../src/ledger/adopt.ts'

const ISSUED_AT = Date.parse('2026-01-01T00:00:00Z')

const nameOf = (row: { readonly unit: string; readonly key: string }): string => JSON.stringify([row.unit, row.key])

export class SignedFeed {
  readonly signer: Signer
  readonly feedId: FeedId
  readonly charters: Signed<Charter>[]
  rows: readonly Row[] = []
  #seq = 0
  #manifest: Signed<Manifest> | undefined

  constructor(name: string) {
    this.signer = createSeedSigner(sha256(`signer of ${name}`))
    const first: Charter = {
      feedId: null,
      feedType: 'npm',
      owner: this.signer.publicKey,
      recovery: createSeedSigner(sha256(`recovery of ${name}`)).publicKey,
      generation: 0,
      epoch: 1,
      version: 1,
      previous: null,
      salt: sha256(`salt of ${name}`).subarray(0, 16),
      issuedAt: ISSUED_AT,
      freshness: DEFAULT_FRESHNESS,
      indexKeys: [],
      includes: [],
      lastGood: null,
    }
    this.charters = [signCharter(first, this.signer)]
    this.feedId = feedIdOf(this.charters[0]!)
  }

  get charter(): Signed<Charter> {
    return this.charters.at(-1)!
  }

  include(includes: readonly Inclusion[]): void {
    this.charters.push(signCharter({ ...succeedCharter(this.charter, ISSUED_AT), includes }, this.signer))
  }

  /** Signs `rows` as the next state. */
  sign(rows: readonly Row[]): void {
    this.rows = rows
    this.#seq += 1
    const { salt } = this.charter.value
    const entries = rows.map((row) => ({ place: placeOf(salt, row.unit, row.key), digest: rowDigest(encodeRow(row)) }))
    const root = buildTrie(entries.sort((a, b) => a.place.compare(b.place)))
    this.#manifest = signManifest(
      {
        feedId: feedIdBytes(this.feedId),
        charter: this.charter.hash,
        epoch: 1,
        previousEpochSeq: 0,
        seq: this.#seq,
        refresh: 0,
        previous: null,
        issuedAt: ISSUED_AT,
        expiresAt: ISSUED_AT,
        depsRoot: hashDeps([]),
        logSize: this.#seq,
        stateRoot: root.hash,
        entries: root.count,
        bytes: 0,
        revocations: hashRevocations({ feedId: feedIdBytes(this.feedId), list: [] }),
        logRoot: null,
        partitions: null,
        clock: rows.reduce((latest, row) => (row.stamp > latest ? row.stamp : latest), 0n),
      },
      this.signer,
    )
  }

  /** What a peer would send to a node that has `known` rows. */
  stateAfter(known: readonly Row[]): ReceivedState {
    if (this.#manifest === undefined) throw new Error('nothing was signed yet')
    const before = new Map(known.map((row) => [nameOf(row), row]))
    const now = new Set(this.rows.map(nameOf))
    const isNew = (row: Row) => {
      const old = before.get(nameOf(row))
      return old === undefined || Buffer.compare(encodeRow(old), encodeRow(row)) !== 0
    }
    return {
      feedId: this.feedId,
      manifest: this.#manifest,
      charter: this.charter,
      deps: [],
      revocations: { feedId: feedIdBytes(this.feedId), list: [] },
      puts: this.rows.filter(isNew),
      drops: known.filter((row) => !now.has(nameOf(row))).map(({ unit, key }) => ({ unit, key })),
    }
  }
}
