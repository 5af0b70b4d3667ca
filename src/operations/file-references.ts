/** Which files the rows here name. */

import type { FeedId } from '../catalog/charter.ts'
import { decodeRow, type Row, type RowFile } from '../catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Registry } from '../ledger/registry.ts'
import { keys } from '../store/keys.ts'

export interface FileReference {
  readonly feedId: FeedId
  readonly row: Row
  readonly file: RowFile
}

/** A generation of a feed's rows. */
type RowsOf = Pick<FeedState, 'feedId' | 'number' | 'generation'>

function readRow(value: Uint8Array): Row | undefined {
  try {
    return decodeRow(value)
  } catch (error) {
    if (isFeedmeshError(error, 'PEER_INVALID')) return undefined
    throw error
  }
}

function withChunkList(file: RowFile): RowFile[] {
  return file.chunkRoot === undefined
    ? [file]
    : [file, { role: `${file.role} chunks`, digest: file.chunkRoot, size: 0 }]
}

/** Rows of states that are on their way: the next pull goes on with them, and with the files that came already. */
export async function listShadows({ registry, shadows }: Ledger): Promise<RowsOf[]> {
  const feedIds = new Map([...registry.states.values()].map(({ number, feedId }) => [number, feedId]))
  return (await shadows.list()).flatMap(({ number, generation }) => {
    const feedId = feedIds.get(number)
    return feedId === undefined ? [] : [{ feedId, number, generation }]
  })
}

/**
 * Every file that a row of a known feed names, chunk lists included; and those that `others` name.
 * @throws CORRUPT for a row that cannot be read
 */
export async function* listReferences(
  registry: Registry,
  unreadable: 'refuse' | 'pass',
  others: readonly RowsOf[] = [],
): AsyncGenerator<FileReference> {
  for (const { feedId, number, generation } of [...registry.states.values(), ...others]) {
    for await (const [, value] of registry.records.scan(keys.rows(number, generation))) {
      const row = readRow(value)
      if (row === undefined && unreadable === 'refuse')
        throw new FeedmeshError(
          'CORRUPT',
          `a stored row of feed ${feedId} cannot be read, so nobody knows which files it names and none is reclaimed; run feedmesh verify`,
        )
      if (row === undefined) continue
      for (const file of row.files.flatMap(withChunkList)) yield { feedId, row, file }
    }
  }
}
