/** What a plan says is to be done now. */

import type { FeedmeshError } from '../errors.ts'
import type { PlannedRequest } from './requests.ts'

export interface Decisions {
  readonly send: readonly PlannedRequest[]
  /** Requests that nothing more is expected of. */
  readonly cancel: readonly number[]
  /** Blobs that nobody gives. */
  readonly failed: readonly { readonly digest: string; readonly error: FeedmeshError }[]
  /** Peers whose bytes were wrong for certain, whatever came of the blob. */
  readonly lies: readonly { readonly peer: string; readonly digest: string; readonly error: FeedmeshError }[]
  /** When to ask again though nothing has happened. */
  readonly wakeAtMs: number | undefined
}
