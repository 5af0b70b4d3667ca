/** Runs seeds with a planted bug until one fails; prints the outcome as one line of JSON. */

import { focusOn, PLANTED_BUGS } from './planted-bugs.ts'
import { simulate } from './simulation.ts'

const bug = PLANTED_BUGS.find((each) => each.name === process.env['SIM_PLANT'])
if (bug === undefined) throw new Error('SIM_PLANT names no planted bug')
const asError = (thrown: unknown) => (thrown instanceof Error ? thrown : new Error('something else was thrown'))
let cpuMs = 0
let found: { seed: number; message: string } | undefined
const { first = 1, seeds } = bug
for (let seed = first; seed < first + seeds && found === undefined; seed += 1) {
  const result = await simulate(seed, focusOn(bug))
  cpuMs += result.cpuMs
  if (result.failure !== undefined) {
    const { message } = asError(result.failure)
    found = { seed, message: message.slice(0, 300) }
  }
}
console.log(JSON.stringify({ seed: found?.seed, message: found?.message, cpuMs: Math.round(cpuMs) }))
// A process that was broken on purpose may have left anything open.
process.exit(0)
