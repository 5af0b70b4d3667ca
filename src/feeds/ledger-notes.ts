/** `FeedNotes` in the records of a node. */

import type { FeedId } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import { type FeedNotes, MAX_NOTE_BYTES } from './feed.ts'

export class LedgerNotes implements FeedNotes {
  readonly #options: { readonly feedId: FeedId; readonly ledger: Ledger }

  constructor(options: { readonly feedId: FeedId; readonly ledger: Ledger }) {
    this.#options = options
  }

  async find(name: string): Promise<Uint8Array | undefined> {
    return await this.#options.ledger.registry.records.find(this.#key(name))
  }

  async set(notes: ReadonlyMap<string, Uint8Array | undefined>): Promise<void> {
    const writes: Write[] = []
    for (const [name, value] of notes) {
      const key = this.#key(name)
      if (value !== undefined && value.length > MAX_NOTE_BYTES)
        throw new FeedmeshError('INTERNAL', `note ${name} has ${value.length} bytes, more than ${MAX_NOTE_BYTES}`)
      writes.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value })
    }
    await this.#options.ledger.registry.records.write(writes)
  }

  #key(name: string): Uint8Array {
    const { registry } = this.#options.ledger
    return keys.note(registry.getState(this.#options.feedId).number, name)
  }
}
