/**
 * `npm run simulate -- --seeds N [--first N] [--hours H]`: runs seeds until there are enough of them, or of simulated hours,
 * and says what it met. `npm run simulate -- --seed N` runs one, twice.
 */

import { parseArgs } from 'node:util'
import { Campaign } from './campaign.ts'
import { drawOptions, renderOptions } from './options.ts'
import { describeFailure, type SimulationResult, simulate } from './simulation.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string' },
    hours: { type: 'string' },
  },
})

function number(text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`not a whole number: ${text}`)
  return value
}

function tell(result: SimulationResult): void {
  const hours = (result.simulatedMs / 3_600_000).toFixed(2)
  console.log(
    `seed ${result.seed}: ${hours} h, ${result.events} events, ${result.acknowledged} changes, ${result.digest} ${result.failure === undefined ? 'ok' : 'FAILED'}`,
  )
}

async function replay(seed: number): Promise<boolean> {
  console.log(renderOptions(drawOptions(seed)))
  const first = await simulate(seed)
  tell(first)
  if (first.failure !== undefined) {
    console.error(await describeFailure(first))
    console.error(first.failure)
    return false
  }
  const again = await simulate(seed)
  tell(again)
  return again.digest === first.digest
}

async function runMany(): Promise<boolean> {
  const campaign = new Campaign({
    first: number(values.first, 1),
    seeds: number(values.seeds, Number.MAX_SAFE_INTEGER),
    hours: number(values.hours, values.seeds === undefined ? 20 : Number.MAX_SAFE_INTEGER),
    onResult: tell,
  })
  const failure = await campaign.run()
  console.log(campaign.report())
  if (failure === undefined) return true
  console.error(failure)
  return false
}

const isWell = values.seed === undefined ? await runMany() : await replay(number(values.seed, 1))
// What a failed seed left waiting is of no concern.
process.exit(isWell ? 0 : 1)
