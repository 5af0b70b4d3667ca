/**
 * Which fetch has which blob under way, so that others wait for it instead of fetching it, too. Small blobs that are not worth
 * it are fetched by each.
 */

import { isResumed } from './blob-assembly.ts'
import type { BlobFetch } from './blob-fetch.ts'
import type { BlobWork, WantedBlob } from './blob-fetcher.ts'

interface BlobUnderWay {
  readonly settled: PromiseWithResolvers<boolean>
  /** undefined while the fetch is about to start. */
  readonly started: Promise<BlobFetch | undefined>
}

/** The blobs of one fetch. Disposed of when it is over: what has no outcome by then was not fetched. */
export interface SharedBlobs extends Disposable {
  start(fetch: BlobFetch): void
  settle(one: WantedBlob, isHere: boolean): void
}

export class BlobsUnderWay {
  readonly #blobs = new Map<string, BlobUnderWay>()

  has({ digest }: WantedBlob): boolean {
    return this.#blobs.has(digest)
  }

  begin(wanted: readonly WantedBlob[]): SharedBlobs {
    const started = Promise.withResolvers<BlobFetch | undefined>()
    const own = new Map<string, BlobUnderWay>()
    for (const { digest } of wanted.filter(isResumed)) {
      const blob = { settled: Promise.withResolvers<boolean>(), started: started.promise }
      own.set(digest, blob)
      this.#blobs.set(digest, blob)
    }
    const settle = (digest: string, isHere: boolean) => {
      const blob = own.get(digest)
      if (blob === undefined) return
      own.delete(digest)
      this.#blobs.delete(digest)
      blob.settled.resolve(isHere)
    }
    return {
      start: (fetch) => started.resolve(fetch),
      settle: ({ digest }, isHere) => settle(digest, isHere),
      [Symbol.dispose]: () => {
        started.resolve(undefined)
        for (const digest of own.keys()) settle(digest, false)
      },
    }
  }

  /**
   * Until the blob that is under way is here, or will not come, or the work is aborted. A client that waits hastens it, and may
   * read along.
   * @returns whether it is here now
   */
  async waitFor({ digest }: WantedBlob, { signal, isWaited, follower }: BlobWork): Promise<boolean> {
    const blob = this.#blobs.get(digest)
    if (blob === undefined) return false
    const aborted = Promise.withResolvers<boolean>()
    const stop = () => aborted.resolve(false)
    signal.addEventListener('abort', stop, { once: true })
    try {
      if (signal.aborted) return false
      const fetch = isWaited === true ? await Promise.race([blob.started, aborted.promise]) : undefined
      if (typeof fetch === 'object') await fetch.hasten(digest, follower)
      return await Promise.race([blob.settled.promise, aborted.promise])
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}
