/** Blobs that a client asks for and that are not here: fetched from linked peers, once however many clients wait. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { feedIdText } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import type { BlobWanted, FetchBlob } from '../feeds/ledger-feed.ts'
import type { Registry } from '../ledger/registry.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { Book } from './book.ts'

const TIMEOUT_MS = 30 * 60_000

/** Peers that may have it: those it came from, and those that replicate our own feed. */
function findPeers(book: Book, registry: Registry, wanted: BlobWanted): string[] {
  const links = book.links.all().filter((link) => {
    if (link.revokedAt !== null) return false
    const source = feedIdText(link.remote)
    return (
      source === wanted.feedId ||
      feedIdText(link.local) === wanted.feedId ||
      registry.views.get(source)?.closure.members.has(wanted.feedId) === true
    )
  })
  return [...new Set(links.map((link) => link.peer))]
}

export function createDemandFetch(options: {
  readonly book: Book
  readonly registry: Registry
  readonly fetcher: BlobFetcher
  readonly stopping: AbortSignal
  readonly setTimer: SetTimer
}): FetchBlob {
  const underWay = new Map<string, Promise<void>>()
  const { book, registry, fetcher, stopping, setTimer } = options

  async function fetch(wanted: BlobWanted): Promise<void> {
    const { feedId, unit, key, file } = wanted
    let failure: FeedmeshError | undefined
    using limit = startTimeLimit(setTimer, TIMEOUT_MS, stopping)
    const blob = { feedId, unit, key, digest: file.digest, size: file.size }
    await fetcher.fetchAll(findPeers(book, registry, wanted), [blob], {
      signal: limit.signal,
      isWaited: true,
      onOutcome: ({ error }) => {
        failure = error
      },
    })
    if (failure === undefined) return
    const message = `a file of ${unit} is not here, and no peer has given it (${failure.message})`
    throw new FeedmeshError('NOT_FOUND', message, { cause: failure })
  }

  return async (wanted) => {
    const running = underWay.get(wanted.file.digest)
    if (running !== undefined) return await running
    const started = fetch(wanted).finally(() => underWay.delete(wanted.file.digest))
    underWay.set(wanted.file.digest, started)
    return await started
  }
}
