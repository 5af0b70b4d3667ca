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

/** Whether the files of an item are brought ahead of any request: all that the filters let through, or what is pinned. */
export function isBroughtAhead(replication: Replication, unit: string, item: string): boolean {
  if (replication.availability === 'full') return isWanted(replication, unit, item)
  const { pins } = replication
  return pins.length > 0 && (isInScope(pins, unit) || isInScope(pins, item))
}

export interface ExpectedFilesParts {
  readonly book: Book
  readonly registry: Registry
  readonly itemName: (feedType: string, unit: string, key: string) => string | undefined
}

/** Whether the rows of a feed come over a link of the replication, live or not. */
export function brings(
  { book, registry }: Pick<ExpectedFilesParts, 'book' | 'registry'>,
  replication: Replication,
  feedId: FeedId,
): boolean {
  return book.linksOf(replication.id).some((link) => registry.reaches(feedIdText(link.remote), feedId))
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
    .filter((replication) => isReceiving(replication.mode) && isBroughtAhead(replication, row.unit, item))
    .some((replication) => brings(parts, replication, feedId))
}
