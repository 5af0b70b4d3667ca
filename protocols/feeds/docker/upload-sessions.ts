/**
 * Uploads that take several requests. The feed remembers each of them; here are those whose file is open. One that lies
 * idle, and all of them when the node stops, are left on disk, and taken up again (read and hashed again) by the next
 * request. After a kill an upload goes on where the bytes end that were written.
 */

import { randomBytes } from 'node:crypto'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import { RegistryError } from './registry-error.ts'

export interface SessionLimits {
  /** Open files; beyond, the one that is idle longest is closed. */
  readonly maxOpen: number
  readonly maxIdleMs: number
  readonly sweepMs: number
}

export const SESSION_LIMITS: SessionLimits = { maxOpen: 256, maxIdleMs: 10 * 60_000, sweepMs: 60_000 }

interface Session {
  readonly feed: Feed
  readonly id: string
  readonly staged: StagedBlob
  touchedAtMs: number
  isBusy: boolean
}

export interface SessionPlace {
  readonly feed: Feed
  readonly unit: string
  readonly id: string
}

/** What a request may do with the upload it has to itself. */
export interface HeldSession {
  readonly staged: StagedBlob
  /** The upload is over: it was sealed, or its bytes are lost. */
  readonly close: () => void
}

export class UploadSessions implements AsyncDisposable {
  readonly #open = new Map<string, Session>()
  readonly #limits: SessionLimits
  readonly #now: () => number
  #sweeper: NodeJS.Timeout | undefined

  constructor(limits: SessionLimits = SESSION_LIMITS, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  /** @returns the id of the upload */
  async begin(feed: Feed, unit: string, algorithm: 'sha256' | 'sha512'): Promise<string> {
    const id = randomBytes(16).toString('hex')
    await feed.uploads.begin(id, unit)
    await this.#openFile({ feed, unit, id }, algorithm)
    return id
  }

  /** Runs `work` with the upload, which no other request has meanwhile. @throws BLOB_UPLOAD_UNKNOWN, BUSY */
  async use<T>(place: SessionPlace, work: (held: HeldSession) => Promise<T>): Promise<T> {
    const { feed, unit, id } = place
    if ((await feed.uploads.find(id))?.unit !== unit)
      throw new RegistryError('BLOB_UPLOAD_UNKNOWN', 'no such upload is under way here; begin again with POST')
    const session = this.#open.get(keyOf(feed, id)) ?? (await this.#openFile(place, 'sha256'))
    if (session.isBusy)
      throw new FeedmeshError('BUSY', 'another request of this upload is under way; send them one by one')
    session.isBusy = true
    try {
      return await work({ staged: session.staged, close: () => this.#open.delete(keyOf(feed, id)) })
    } finally {
      session.isBusy = false
      session.touchedAtMs = this.#now()
    }
  }

  /** Throws the upload away. */
  async cancel(place: SessionPlace): Promise<void> {
    await this.use(place, async ({ staged, close }) => {
      close()
      await staged[Symbol.asyncDispose]()
      await place.feed.uploads.end(place.id)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper)
    // Nobody waits for them any more; one whose bytes cannot be left on disk begins anew.
    await Promise.allSettled([...this.#open.values()].map((session) => this.#park(session)))
  }

  async #openFile({ feed, id }: SessionPlace, algorithm: 'sha256' | 'sha512'): Promise<Session> {
    const hashes = algorithm === 'sha512' ? { hashes: ['sha512'] as const } : {}
    const staged = await feed.uploads.resume(id, { maxBytes: feed.maxFileBytes, ...hashes })
    const session = { feed, id, staged, touchedAtMs: this.#now(), isBusy: false }
    this.#open.set(keyOf(feed, id), session)
    this.#sweeper ??= setInterval(() => void this.#sweep(), this.#limits.sweepMs).unref()
    if (this.#open.size > this.#limits.maxOpen) await this.#parkIdlest()
    return session
  }

  async #park(session: Session): Promise<void> {
    this.#open.delete(keyOf(session.feed, session.id))
    await session.staged.keep()
  }

  async #parkIdlest(): Promise<void> {
    const idle = [...this.#open.values()].filter(({ isBusy }) => !isBusy)
    const [idlest] = idle.sort((a, b) => a.touchedAtMs - b.touchedAtMs)
    if (idlest !== undefined) await this.#park(idlest)
  }

  async #sweep(): Promise<void> {
    for (const session of this.#open.values())
      if (!session.isBusy && this.#now() - session.touchedAtMs > this.#limits.maxIdleMs)
        await this.#park(session).catch(() => undefined) // Its next request begins anew, or is told why it cannot.
  }
}

function keyOf(feed: Feed, id: string): string {
  return `${feed.name} ${id}`
}
