/** The outgoing end of linking, and the other requests a linked peer answers: confirm, grant, poke. */

import { Exchange, parseError } from '../../protocols/mesh/exchange.ts'
import {
  encodeTranscript,
  type Hello,
  hashHello,
  LINK_PROTOCOL,
  type LinkPair,
  type LinkReply,
  type LinkRequest,
  type LinkTerms,
  linkReply,
  linkRequest,
} from '../../protocols/mesh/link/messages.ts'
import { feedIdBytes } from '../catalog/charter.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import type { ReplicationMode } from '../catalog/policy.ts'
import { signMessage } from '../catalog/signed.ts'
import { deriveLinkSigner, type SyncToken } from '../catalog/token.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { MeshHost } from '../network/host.ts'
import type { Link } from './book.ts'
import { createHello, type HelloOptions, verifyCommonProtocols } from './hello.ts'
import type { PokeResult } from './link-answerer.ts'
import type { Presence } from './presence.ts'

export interface LinkAskerOptions {
  readonly host: MeshHost
  readonly hello: HelloOptions
  readonly presence: Presence
  readonly publicKey: Uint8Array
}

export interface Described {
  readonly feeds: readonly { readonly feedId: Uint8Array; readonly name: string; readonly feedType: string }[]
  readonly mode: ReplicationMode
}

type Reply<K extends LinkReply['kind']> = Extract<LinkReply, { kind: K }>

/** One greeted stream. Replies that say `error` are thrown. */
class LinkSession {
  readonly #exchange: Exchange<LinkRequest, LinkReply>
  readonly #mine: Hello
  readonly theirs: Hello

  constructor(exchange: Exchange<LinkRequest, LinkReply>, mine: Hello, theirs: Hello) {
    this.#exchange = exchange
    this.#mine = mine
    this.theirs = theirs
  }

  async ask<K extends LinkReply['kind']>(request: LinkRequest, expected: K): Promise<Reply<K>> {
    await this.#exchange.send(request)
    const reply = await this.#exchange.receive()
    if (reply.kind === 'error') throw parseError(reply)
    if (reply.kind !== expected)
      throw new FeedmeshError('PEER_INVALID', `link: the answer is ${reply.kind}, not ${expected}`)
    return reply as Reply<K>
  }

  /** Signature over both hellos, both ends and what is asked for, with the token's key. */
  prove(
    step: 'describe' | 'link',
    token: SyncToken,
    about: { asker: Uint8Array; terms: LinkTerms | null },
  ): Uint8Array {
    const transcript = {
      step,
      askerHello: hashHello(this.#mine),
      answererHello: hashHello(this.theirs),
      asker: about.asker,
      answerer: publicKeyFromPeerId(this.#exchange.remote),
      tokenId: token.id,
      terms: about.terms,
    }
    return signMessage('link', encodeTranscript(transcript), deriveLinkSigner(token))
  }
}

export class LinkAsker {
  readonly #options: LinkAskerOptions

  constructor(options: LinkAskerOptions) {
    this.#options = options
  }

  /** By what peers said of their clocks this node must not sign: with their next hellos that may be over. */
  get isClockDoubted(): boolean {
    return this.#options.presence.findClockFault() !== undefined
  }

  /** Opens a stream, exchanges hellos, does the work, ends the stream. */
  async #withSession<T>(peer: string, signal: AbortSignal, work: (session: LinkSession) => Promise<T>): Promise<T> {
    const { host, hello, presence } = this.#options
    const channel = await host.open(peer, LINK_PROTOCOL, signal)
    await using exchange = new Exchange<LinkRequest, LinkReply>(channel, {
      out: linkRequest,
      in: linkReply,
      what: LINK_PROTOCOL,
    })
    const mine = createHello(hello)
    await exchange.send({ kind: 'hello', ...mine })
    const theirs = await exchange.receive()
    if (theirs.kind === 'error') {
      const error = parseError(theirs)
      if (isFeedmeshError(error, 'IDENTITY_DUPLICATED')) presence.noteOwnDuplicate()
      throw error
    }
    if (theirs.kind !== 'hello')
      throw new FeedmeshError('PEER_INVALID', 'link: the other node did not answer the hello')
    verifyCommonProtocols(theirs)
    presence.note(peer, theirs)
    const result = await work(new LinkSession(exchange, mine, theirs))
    await exchange.end()
    return result
  }

  /** Hellos alone: on every connection, so that both ends know of each other's clock and instance. */
  async greet(peer: string, signal: AbortSignal): Promise<void> {
    await this.#withSession(peer, signal, async () => {})
  }

  /** Which feeds a token opens. @throws TOKEN_UNKNOWN, TOKEN_REVOKED, PEER_UNREACHABLE */
  async describe(peer: string, token: SyncToken | undefined, signal: AbortSignal): Promise<Described> {
    return await this.#withSession(peer, signal, async (session) => {
      const proof =
        token === undefined ? null : session.prove('describe', token, { asker: this.#options.publicKey, terms: null })
      return await session.ask({ kind: 'describe', tokenId: token?.id ?? null, proof }, 'described')
    })
  }

  /** @throws TOKEN_…, TYPE_MISMATCH, MODE_MISMATCH, NOT_FOUND, PEER_UNREACHABLE */
  async link(
    peer: string,
    token: SyncToken | undefined,
    work: { readonly terms: LinkTerms; readonly signal: AbortSignal },
  ): Promise<void> {
    await this.#withSession(peer, work.signal, async (session) => {
      const { terms } = work
      const proof = token === undefined ? null : session.prove('link', token, { asker: this.#options.publicKey, terms })
      await session.ask({ kind: 'link', tokenId: token?.id ?? null, terms, proof }, 'linked')
    })
  }

  /** Tells the other end what is held here of its feed, or what went wrong; learns what it holds itself. */
  async confirm(
    link: Link,
    held: {
      readonly digest: Uint8Array
      readonly entries: number
      readonly problem: { readonly code: string; readonly message: string } | null
    },
    signal: AbortSignal,
  ): Promise<Reply<'confirmed'>> {
    return await this.#withSession(link.peer, signal, (session) =>
      session.ask({ kind: 'confirm', feedId: link.remote, ...held }, 'confirmed'),
    )
  }

  /** A fresh grant chain for this node on a feed that a linked peer gives it: the linked one, or one that it reaches. */
  async fetchGrant(
    { peer, remote }: Pick<Link, 'peer' | 'remote'>,
    signal: AbortSignal,
  ): Promise<readonly Uint8Array[]> {
    const reply = await this.#withSession(peer, signal, (session) =>
      session.ask({ kind: 'grant', feedId: remote }, 'granted'),
    )
    return reply.chain
  }

  /** Has the other end pull our feed now. */
  async poke(link: Link, signal: AbortSignal): Promise<PokeResult> {
    return await this.#withSession(link.peer, signal, (session) =>
      session.ask({ kind: 'poke', feedId: link.local }, 'poked'),
    )
  }
}

/** The pairs to link: named by the operator, or the only ones possible. @throws BAD_INPUT, NOT_FOUND */
export function matchFeeds(
  wanted: readonly {
    readonly local: string
    readonly localId: string
    readonly feedType: string
    readonly remote: string | null
  }[],
  described: Described,
): LinkPair[] {
  const names = described.feeds.map((feed) => feed.name).join(', ')
  return wanted.map(({ local, localId, feedType, remote }) => {
    const byName = described.feeds.find((feed) => feed.name === (remote ?? local))
    const found =
      byName ??
      (remote === null && described.feeds.length === 1 && wanted.length === 1 ? described.feeds[0] : undefined)
    if (found === undefined) {
      const what =
        remote === null
          ? `this token opens several feeds (${names}); say which one with --feed ${local}=NAME`
          : `the other end has no feed ${remote} for this token; it opens ${names || 'none'}`
      throw new FeedmeshError(remote === null ? 'BAD_INPUT' : 'NOT_FOUND', what)
    }
    return { remote: found.feedId, local: feedIdBytes(localId), feedType, localName: local }
  })
}
