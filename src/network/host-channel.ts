/** What a host needs of the channels it makes, beyond the contract that protocols see; and the serving of one. */

import type { Channel } from '../../protocols/mesh/channel.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { ProtocolLimits } from './host.ts'

export interface HostChannel extends Channel {
  /** Settles once nothing of the stream is left, with the reason when it broke; never rejects. */
  readonly closed: Promise<Error | undefined>
  /** Drops what waits and what still arrives, so that the other end can finish. */
  discard(): void
}

export type ChannelHandler = (channel: Channel, signal: AbortSignal) => Promise<void>

export interface ServedProtocol {
  readonly protocol: string
  readonly limits: ProtocolLimits
  readonly handler: ChannelHandler
}

export interface ServeContext {
  readonly log: Log
  readonly setTimer: SetTimer
  /** Aborted when the host stops. */
  readonly stopping: AbortSignal
}

/** Time the other end gets to close its side after the handler has finished. */
const LINGER_MS = 5000

/** Runs the handler on a channel of its protocol and leaves the channel closed or about to close. Never rejects. */
export async function serveChannel(channel: HostChannel, served: ServedProtocol, context: ServeContext): Promise<void> {
  const { setTimer, stopping } = context
  const controller = new AbortController()
  const stop = (): void => {
    controller.abort(stopping.reason)
  }
  if (stopping.aborted) stop()
  stopping.addEventListener('abort', stop, { once: true })
  void abortWhenBroken(channel, controller)
  const { maxDurationMs } = served.limits
  const cancelLimit = setTimer(() => {
    const late = new FeedmeshError('TIMEOUT', `${served.protocol} was not done after ${maxDurationMs} ms`)
    channel.abort(late)
    controller.abort(late)
  }, maxDurationMs)
  try {
    await served.handler(channel, controller.signal)
    await channel.end()
    channel.discard()
    const cancelLinger = setTimer(() => {
      channel.abort(new FeedmeshError('TIMEOUT', `${channel.remote} did not close its side of ${served.protocol}`))
    }, LINGER_MS)
    void channel.closed.then(cancelLinger)
  } catch (error) {
    const failure = asFeedmeshError(error)
    channel.abort(failure)
    logFailure(context.log, { peer: channel.remote, protocol: served.protocol }, failure)
  } finally {
    cancelLimit()
    stopping.removeEventListener('abort', stop)
  }
}

async function abortWhenBroken(channel: HostChannel, controller: AbortController): Promise<void> {
  const broken = await channel.closed
  if (broken !== undefined) controller.abort(broken)
}

function logFailure(log: Log, where: { readonly peer: string; readonly protocol: string }, error: FeedmeshError): void {
  const { code } = error
  if (code === 'INTERNAL') log.error({ ...where, err: error.cause ?? error }, 'a protocol handler failed')
  else if (code === 'PEER_UNREACHABLE' || code === 'ABORTED') log.debug({ ...where, code }, error.message)
  else log.warn({ ...where, code }, error.message)
}
