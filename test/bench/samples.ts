/** Median and spread of what was measured in several rounds. */

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

export function summarise(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new Error('nothing was measured')
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

export function medianOf(samples: readonly number[]): number {
  return summarise(samples).median
}

/** Largest deviation from the median, as a share of it. */
export function spreadOf(samples: readonly number[]): number {
  const { median, min, max } = summarise(samples)
  return median === 0 ? 0 : Math.max(max - median, median - min) / median
}

/** Runs every contender once a round; every other round in the opposite order. */
export async function alternate<K extends string>(
  contenders: readonly K[],
  rounds: number,
  measure: (contender: K, round: number) => Promise<number>,
): Promise<Map<K, number[]>> {
  const samples = new Map<K, number[]>(contenders.map((contender) => [contender, []]))
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed()
    for (const contender of order) samples.get(contender)!.push(await measure(contender, round))
  }
  return samples
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}
