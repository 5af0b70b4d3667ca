/**
 * An operator's journey that is killed: `operator-child.ts JOURNEY DIRECTORY POINT OCCURRENCE`. With the point `after` the kill
 * comes OCCURRENCE ms after the journey began, which may be after its end.
 */

import type { FaultPoint } from '../../src/fault-points.ts'
import { OPERATOR_JOURNEYS, runOperatorJourney } from './operator-journeys.ts'

const [, , name = '', directory = '', point = '', occurrence = '1'] = process.argv
const journey = OPERATOR_JOURNEYS.find((known) => known === name)
if (journey === undefined) throw new Error(`no journey ${name}`)
let left = Number(occurrence)
let isArmed = false

const kill = () => process.kill(process.pid, 'SIGKILL')

function reach(reached: FaultPoint): void {
  if (!isArmed || reached !== point) return
  left -= 1
  if (left <= 0) kill()
}

function began(): void {
  isArmed = true
  if (point === 'after') setTimeout(kill, left).unref()
}

await runOperatorJourney(journey, directory, {
  reach,
  began,
  say: (line) => process.stdout.write(`acknowledged ${line}\n`),
})
process.stdout.write('done\n')
