/** Which files of adopted rows are to be here, and not only to be had when a client asks. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { isInScope } from '../catalog/glob.ts'
import { isReceiving } from '../catalog/policy.ts'
import { META_ROLE, type Row } from '../catalog/row.ts'
import type { Registry } from '../ledger/registry.ts'
import type { Book, Replication } from './book.ts'

/** Whether the filters of a replication let the item through; they name units or items. */
export function isWanted({ include, exclude }: Replication, unit: string, item: string): boolean {
  const matches = (globs: readonly string[]) => isInScope(globs, unit) || isInScope(globs, item)
  return (include.length === 0 || matches(include)) && (exclude.length === 0 || !matches(exclude))
}

export interface ExpectedFilesParts {
  readonly book: Book
  readonly registry: Registry
  readonly itemName: (feedType: string, unit: string, key: string) => string | undefined
}

function brings({ book, registry }: ExpectedFilesParts, replication: Replication, feedId: FeedId): boolean {
  return book.linksOf(replication.id).some((link) => {
    const source = feedIdText(link.remote)
    return source === feedId || registry.views.get(source)?.closure.members.has(feedId) === true
  })
}

/** Files of a feed made here always; those of another feed as the replications that bring it say, its metadata always. */
export function isFileExpected(
  parts: ExpectedFilesParts,
  file: { readonly feedId: FeedId; readonly row: Row; readonly role: string },
): boolean {
  const { book, registry, itemName } = parts
  const { feedId, row, role } = file
  if (registry.localById(feedId) !== undefined || role === META_ROLE) return true
  const item = itemName(registry.charterOf(feedId)?.feedType ?? '', row.unit, row.key) ?? row.unit
  return book.replications
    .all()
    .filter((replication) => isReceiving(replication.mode) && replication.availability === 'full')
    .some((replication) => brings(parts, replication, feedId) && isWanted(replication, row.unit, item))
}
