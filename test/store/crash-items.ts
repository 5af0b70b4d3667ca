/** What `crash-child.ts` stores, so that the parent can check it. */

import { content } from './contents.ts'

export const CRASH_ROWS = 5

export function itemContents(item: number): readonly Buffer[] {
  return [content(1_000, 2 * item + 1), content(100_000, 2 * item + 2)]
}

export function rowKey(item: number, row: number): Buffer {
  return Buffer.from(`zz/${String(item).padStart(6, '0')}/${row}`)
}
