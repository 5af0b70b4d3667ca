/** Why nobody gave a blob, in one error. */

import { type ErrorCode, FeedmeshError } from '../errors.ts'

export interface Refusal {
  readonly peer: string
  readonly error: FeedmeshError
}

/** Refusals that are named; the rest is counted. */
const MAX_NAMED = 8

/** What one peer said stays as it is; NOT_FOUND of several only where none of them has it: any other might have it later. */
export function combineRefusals(digest: string, refusals: readonly Refusal[]): FeedmeshError {
  const [first] = refusals
  if (first === undefined) return new FeedmeshError('NOT_FOUND', `no peer that may be asked has ${digest}`)
  if (refusals.length === 1) return first.error
  const named = refusals.slice(0, MAX_NAMED).map(({ peer, error }) => `${peer}: ${error.message}`)
  const more = refusals.length > MAX_NAMED ? [`and ${refusals.length - MAX_NAMED} more`] : []
  return new FeedmeshError(combineCodes(refusals), [...named, ...more].join('; '))
}

function combineCodes(refusals: readonly Refusal[]): ErrorCode {
  return refusals.find(({ error }) => error.code !== 'NOT_FOUND')?.error.code ?? 'NOT_FOUND'
}
