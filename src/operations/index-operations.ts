/** Signed indexes, as operators handle them. */

import type { SignedIndexes } from '../feeds/signed-index.ts'
import type { IndexSettings } from '../http/feed-index-operations.ts'
import type { Actor } from '../http/operations.ts'
import type { IndexKeeper } from '../indexing/index-keeper.ts'
import type { AuditLog } from './audit.ts'

export class IndexOperations {
  readonly #keeper: IndexKeeper
  readonly #audit: AuditLog

  constructor(keeper: IndexKeeper, audit: AuditLog) {
    this.#keeper = keeper
    this.#audit = audit
  }

  open(name: string): SignedIndexes {
    return this.#keeper.indexesOf(name)
  }

  async show(name: string): Promise<IndexSettings> {
    const { mode, isChosen, keys } = await this.#keeper.settings(name)
    return { name, index: mode, chosen: isChosen, keys }
  }

  async setMode(name: string, mode: IndexSettings['index'], actor: Actor): Promise<IndexSettings> {
    await this.#keeper.setMode(name, mode)
    await this.#audit.note(actor, 'feed edit', `${name}: --index ${mode}`)
    return await this.show(name)
  }

  async renewKey(name: string, actor: Actor): Promise<IndexSettings> {
    await this.#keeper.renewKey(name)
    await this.#audit.note(actor, 'feed index-key --new', name)
    return await this.show(name)
  }

  async exportKey(name: string, actor: Actor): Promise<{ readonly name: string; readonly key: string }> {
    const key = await this.#keeper.exportKey(name)
    await this.#audit.note(actor, 'feed index-key --export', name)
    return { name, key }
  }
}
