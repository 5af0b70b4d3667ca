/** What a ledger shows, as lines that can be compared: without the times of writing and the numbers of feeds. */

import { contentDigest } from '../../src/catalog/row.ts'
import type { Registry } from '../../src/ledger/registry.ts'
import { listUnits } from '../../src/ledger/view-index.ts'
import type { Records } from '../../src/store/records.ts'

/** A line for each feed of this node, each feed it includes, each visible row. */
export async function readLines(registry: Registry): Promise<Set<string>> {
  const lines = new Set<string>()
  for (const local of registry.locals.values()) {
    lines.add(`feed ${local.name}, ${registry.charterOf(local.id)?.includes.length ?? 0} includes`)
    const view = registry.getView(local.id)
    for await (const { unit } of listUnits(registry.records, view, { limit: 100_000 })) {
      for (const row of (await registry.loadUnit(view, unit)).rows)
        lines.add(`${local.name} ${unit} ${row.key} ${row.rowClass} ${contentDigest(row.row).toString('hex')}`)
    }
  }
  return lines
}

/** How many records there are of each table that content consists of. */
export async function countTables(records: Records): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const letter of 'fFhsSrnglVvwubc') {
    const gte = Buffer.from(letter)
    const lt = Buffer.from([gte.readUInt8() + 1])
    counts[letter] = 0
    for await (const _key of records.scanKeys({ gte, lt })) counts[letter] += 1
  }
  return counts
}
