/** Adds "did you mean" to a NOT_FOUND of the node, from the names that it has. */

import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FeedSummary, KeySummary, ReplicationSummary, TokenSummary } from '../http/operations.ts'
import type { ApiClient } from './api-client.ts'
import { findSimilar } from './did-you-mean.ts'

export type Named = 'feed' | 'replication' | 'token' | 'key'

export async function listNames(api: ApiClient, named: Named): Promise<readonly string[]> {
  if (named === 'feed') return (await api.get<{ feeds: FeedSummary[] }>('/feeds')).feeds.map(({ name }) => name)
  if (named === 'key') return (await api.get<{ keys: KeySummary[] }>('/keys')).keys.map(({ id }) => id)
  if (named === 'token') return (await api.get<{ tokens: TokenSummary[] }>('/tokens')).tokens.map(({ id }) => id)
  const { replications } = await api.get<{ replications: ReplicationSummary[] }>('/replications')
  return replications.map(({ id }) => id)
}

/** @throws what `work` throws, with the similar name if there is one */
export async function withSuggestion<T>(
  api: ApiClient,
  { named, name }: { readonly named: Named; readonly name: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!isFeedmeshError(error, 'NOT_FOUND')) throw error
    // A key that may only publish may not list; then the error stands as it is.
    const names = await listNames(api, named).catch(() => [])
    const similar = findSimilar(name, names)
    if (similar === undefined || similar === name) throw error
    throw new FeedmeshError('NOT_FOUND', `${error.message}. Did you mean ${similar}?`, { cause: error })
  }
}
