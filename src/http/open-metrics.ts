/** OpenMetrics text: https://prometheus.io/docs/specs/om/open_metrics_spec/ */

export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

export interface Metric {
  /** Of a counter without `_total`, of an info without `_info`. */
  readonly name: string
  readonly type: 'gauge' | 'counter' | 'info'
  readonly help: string
  readonly samples: readonly Sample[]
}

const SUFFIX = { gauge: '', counter: '_total', info: '_info' } as const

export function renderOpenMetrics(metrics: readonly Metric[]): string {
  return `${metrics.flatMap(renderMetric).join('\n')}\n# EOF\n`
}

function renderMetric({ name, type, help, samples }: Metric): string[] {
  const lines = samples.map(({ labels = {}, value }) => `${name}${SUFFIX[type]}${renderLabels(labels)} ${value}`)
  return [`# TYPE ${name} ${type}`, `# HELP ${name} ${escapeText(help)}`, ...lines]
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeText(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeText(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
}
