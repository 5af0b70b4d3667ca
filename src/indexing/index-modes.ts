/** What operators have said about who signs the indexes of a feed. */

import type { Charter, FeedId } from '../catalog/charter.ts'
import { feedIdText } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import { readStored } from '../store/stored-bytes.ts'

/**
 * `own`: the feed signs indexes over all that its clients see · `replica`: it serves those of the one feed it pulls from,
 * byte for byte, and takes no packages itself.
 */
export const INDEX_MODES = ['own', 'replica'] as const
export type IndexMode = (typeof INDEX_MODES)[number]

function parseMode(stored: Uint8Array): IndexMode {
  const text = Buffer.from(stored).toString('utf8')
  const mode = INDEX_MODES.find((candidate) => candidate === text)
  if (mode === undefined) throw new FeedmeshError('CORRUPT', `an index mode of ${JSON.stringify(text.slice(0, 40))}`)
  return mode
}

export class IndexModes {
  readonly #records: Records
  readonly #modes: Map<FeedId, IndexMode>

  private constructor(records: Records, modes: Map<FeedId, IndexMode>) {
    this.#records = records
    this.#modes = modes
  }

  static async open(records: Records): Promise<IndexModes> {
    const modes = new Map<FeedId, IndexMode>()
    await readStored('an index mode', async () => {
      for await (const [key, value] of records.scan(keys.indexModes()))
        modes.set(Buffer.from(key.subarray(1)).toString('hex'), parseMode(value))
    })
    return new IndexModes(records, modes)
  }

  /** What an operator has said, if anything. */
  find(feedId: FeedId): IndexMode | undefined {
    return this.#modes.get(feedId)
  }

  async set(feedId: FeedId, mode: IndexMode): Promise<void> {
    await this.#records.write([{ type: 'put', key: keys.indexMode(feedId), value: Buffer.from(mode) }])
    this.#modes.set(feedId, mode)
  }
}

/** The feed that a feed is a copy of: the only one it includes, above its own, as a whole. */
export function findSource(charter: Charter | undefined): FeedId | undefined {
  const [only, ...others] = charter?.includes ?? []
  if (only === undefined || others.length > 0 || only.rank !== 'above' || only.scope.length > 0) return undefined
  return feedIdText(only.feedId)
}
