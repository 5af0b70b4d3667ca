/** What a benchmark found: one line of the table each, and the table itself. */

export interface Finding {
  readonly what: string
  readonly ours: string
  /** The peer or the limit, with its figure; `skipped: …` when the peer is not installed. */
  readonly peer: string
  /** Ours against the peer or limit, in the direction of the target. */
  readonly ratio: number | null
  /** Of `ratio`: at least or at most so much; null when there is no target. */
  readonly target: { readonly atLeast: number } | { readonly atMost: number } | null
  /** Largest deviation from the median of the rounds, as a share of it; null for what is measured once. */
  readonly spread: number | null
  readonly note?: string
}

export interface Bench {
  readonly name: string
  /** One sentence: what is measured against what. */
  readonly about: string
  run(lab: Lab): Promise<readonly Finding[]>
}

/** What all benchmarks of one run share. */
export interface Lab {
  /** Temporary folder, removed after the run. */
  readonly folder: string
  /** Also the sizes that take more than ten minutes. */
  readonly full: boolean
  readonly say: (text: string) => void
}

export function isMet({ ratio, target }: Finding): boolean | null {
  if (ratio === null || target === null) return null
  return 'atLeast' in target ? ratio >= target.atLeast : ratio <= target.atMost
}

export function renderTarget({ target }: Finding): string {
  if (target === null) return '-'
  return 'atLeast' in target ? `≥ ${target.atLeast}×` : `≤ ${target.atMost}×`
}

export function renderTable(name: string, findings: readonly Finding[]): string {
  const met = (finding: Finding) => ({ true: 'yes', false: 'NO', null: '-' })[String(isMet(finding))] ?? '-'
  const rows = findings.map((finding) => [
    finding.what,
    finding.ours,
    finding.peer,
    finding.ratio === null ? '-' : `${formatNumber(finding.ratio)}×`,
    renderTarget(finding),
    met(finding),
    finding.spread === null ? '-' : `±${(finding.spread * 100).toFixed(0)} %`,
    finding.note ?? '',
  ])
  const all = [[name, 'ours', 'peer or limit', 'ratio', 'target', 'met', 'spread', 'note'], ...rows]
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join('  ')
      .trimEnd()
  return [line(all[0]!), widths.map((width) => '-'.repeat(width)).join('  '), ...all.slice(1).map(line)].join('\n')
}

export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toFixed(digits)
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 ** 2) return `${formatNumber(bytes / 1024)} KiB`
  return `${formatNumber(bytes / 1024 ** 2)} MiB`
}
