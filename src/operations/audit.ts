/** The audit log: who changed what, from where. */

import { decodeCbor, encodeCbor, record, type Shaped, text, uint } from '../catalog/cbor.ts'
import type { Actor } from '../http/operations.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'

const entryShape = record({
  at: [1, uint()],
  who: [2, text(128)],
  from: [3, text(128)],
  action: [4, text(64)],
  subject: [5, text(1024)],
})
export type AuditEntry = Shaped<typeof entryShape>

export class AuditLog {
  readonly #records: Records
  readonly #now: () => number
  #counter = 0

  constructor(records: Records, now: () => number) {
    this.#records = records
    this.#now = now
  }

  /** Written after the change it tells of. `subject` names what was changed, never a secret. */
  async note(actor: Actor, action: string, subject: string): Promise<void> {
    const at = this.#now()
    this.#counter = (this.#counter + 1) % 2 ** 32
    const value = encodeCbor(entryShape, {
      at,
      who: actor.name.slice(0, 120),
      from: actor.from.slice(0, 120),
      action,
      subject: subject.slice(0, 900),
    })
    await this.#records.write([{ type: 'put', key: keys.audit(at, this.#counter), value }])
  }

  /** Newest first. */
  async list(limit: number): Promise<AuditEntry[]> {
    const entries: AuditEntry[] = []
    for await (const [, value] of this.#records.scan({ ...keys.audits(), reverse: true, limit }))
      entries.push(decodeCbor(entryShape, value, 'stored audit entry'))
    return entries
  }
}
