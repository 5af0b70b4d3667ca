/** What this node has to tell of its feeds to whoever follows them. */

import type { News } from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import type { FeedPosition } from '../replication/nearby.ts'
import { ToldBlobs } from './told-blobs.ts'

/** Who is at work says so this often. */
export const WORK_REPEAT_MS = 2000

export interface NewsDeskOptions {
  readonly setTimer: SetTimer
  /** The state of which every blob is here; undefined: of none. */
  readonly findWhole: (feedId: FeedId) => FeedPosition | undefined
  /** There is something to tell. */
  readonly onNews: (feedId: FeedId) => void
}

export class NewsDesk implements Disposable {
  readonly #options: NewsDeskOptions
  readonly #blobs = new Map<FeedId, ToldBlobs>()
  /** How often `work` is under way. */
  readonly #work = new Map<FeedId, number>()
  readonly #whole = new Map<FeedId, string>()
  #cancelRepeat: (() => void) | undefined

  constructor(options: NewsDeskOptions) {
    this.#options = options
  }

  tell(feedId: FeedId, digest: Digest, parts: readonly number[] | 'all'): void {
    const blobs = this.#blobs.get(feedId) ?? new ToldBlobs()
    this.#blobs.set(feedId, blobs)
    if (blobs.tell(digest, parts)) this.#options.onNews(feedId)
  }

  work(feedId: FeedId): Disposable {
    this.#count(feedId, 1)
    let isOver = false
    return {
      [Symbol.dispose]: () => {
        if (!isOver) this.#count(feedId, -1)
        isOver = true
      },
    }
  }

  /** The feed's state is another one. */
  moved(feedId: FeedId): void {
    const whole = JSON.stringify(this.#options.findWhole(feedId))
    if (whole === this.#whole.get(feedId)) return
    this.#whole.set(feedId, whole)
    if (whole !== undefined) this.#blobs.get(feedId)?.forgetWhole()
    this.#options.onNews(feedId)
  }

  /** The feed is of no concern any more. */
  forget(feedId: FeedId): void {
    this.#blobs.delete(feedId)
    this.#whole.delete(feedId)
  }

  /** What there is to tell to somebody who was told up to that turn; `isAll` when nothing is left for another message. */
  render(feedId: FeedId, turn: number): { readonly news: News; readonly turn: number; readonly isAll: boolean } {
    const known = this.#blobs.get(feedId)
    const told = known?.since(turn) ?? { blobs: [], turn }
    const at = this.#options.findWhole(feedId) ?? null
    const isAtWork = this.#work.has(feedId)
    const news: News = { kind: 'news', feedId: feedIdBytes(feedId), at, isAtWork, blobs: told.blobs }
    return { news, turn: told.turn, isAll: known === undefined || told.turn >= known.turn }
  }

  #count(feedId: FeedId, change: 1 | -1): void {
    const before = this.#work.get(feedId) ?? 0
    if (before + change > 0) this.#work.set(feedId, before + change)
    else this.#work.delete(feedId)
    if (before === 0 || before + change === 0) this.#options.onNews(feedId)
    this.#repeat()
  }

  #repeat(): void {
    if (this.#cancelRepeat !== undefined || this.#work.size === 0) return
    this.#cancelRepeat = this.#options.setTimer(() => {
      this.#cancelRepeat = undefined
      for (const feedId of this.#work.keys()) this.#options.onNews(feedId)
      this.#repeat()
    }, WORK_REPEAT_MS)
  }

  [Symbol.dispose](): void {
    this.#cancelRepeat?.()
    this.#work.clear()
  }
}
