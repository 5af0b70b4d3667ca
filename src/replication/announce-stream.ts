/**
 * Announcements to one peer, over a stream that stays open between them so that one takes half a round trip. A peer that does
 * not read holds up nobody else: what becomes news meanwhile shares the next frame of its feed.
 */

import { ANNOUNCE_PROTOCOL, type Announcement, announcement } from '../../protocols/mesh/announce/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { writeFrame } from '../../protocols/mesh/frames.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { encodeCbor } from '../catalog/cbor.ts'
import type { FeedId } from '../catalog/charter.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'

const SEND_TIMEOUT_MS = 10_000
/** A stream without news is ended after this long. */
export const ANNOUNCE_IDLE_MS = 10 * 60_000

export interface AnnounceStreamOptions {
  readonly host: MeshHost
  readonly peer: string
  readonly log: Log
  readonly setTimer: SetTimer
  /** The newest of a feed when its turn comes; undefined when there is nothing to tell any more. */
  render(feedId: FeedId, isWhole: boolean): Announcement | undefined
}

export class AnnounceStream implements AsyncDisposable {
  readonly #options: AnnounceStreamOptions
  readonly #stopping = new AbortController()
  /** Feeds with news, and whether it is told whole. */
  readonly #due = new Map<FeedId, boolean>()
  #channel: Channel | undefined
  #sending: Promise<void> | undefined

  constructor(options: AnnounceStreamOptions) {
    this.#options = options
  }

  tell(feedId: FeedId, isWhole: boolean): void {
    this.#due.set(feedId, isWhole || this.#due.get(feedId) === true)
    this.#sending ??= this.#sendDue().finally(() => {
      this.#sending = undefined
    })
  }

  async #sendDue(): Promise<void> {
    for (const [feedId, isWhole] of this.#due) {
      this.#due.delete(feedId)
      const message = this.#options.render(feedId, isWhole)
      if (message === undefined || this.#stopping.signal.aborted) continue
      try {
        await this.#send(encodeCbor(announcement, message))
      } catch (error) {
        this.#options.log.debug({ err: error, peer: this.#options.peer }, 'an announcement did not get through')
      }
    }
  }

  /** Over the open stream; where that has gone meanwhile, over another. */
  async #send(frame: Uint8Array): Promise<void> {
    using limit = startTimeLimit(this.#options.setTimer, SEND_TIMEOUT_MS, this.#stopping.signal)
    const open = this.#channel
    if (open !== undefined) {
      try {
        return await this.#write(open, frame, limit.signal)
      } catch (error) {
        if (limit.signal.aborted) throw error
      }
    }
    const { host, peer } = this.#options
    const channel = await host.open(peer, ANNOUNCE_PROTOCOL, limit.signal, ANNOUNCE_IDLE_MS)
    this.#channel = channel
    await this.#write(channel, frame, limit.signal)
  }

  async #write(channel: Channel, frame: Uint8Array, signal: AbortSignal): Promise<void> {
    const onAbort = () => channel.abort(asFeedmeshError(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await writeFrame(channel, frame)
    } catch (error) {
      this.#channel = undefined
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'there is nothing more to announce'))
    await this.#sending
    this.#channel?.abort(new FeedmeshError('ABORTED', 'there is nothing more to announce'))
  }
}
