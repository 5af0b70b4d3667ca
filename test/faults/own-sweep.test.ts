/** Every operation of every journey of a node by itself fails in turn; see `support/failure-sweep.ts`. FAULT_PAIRS=1 adds pairs. */

import { sweepJourney } from '../support/failure-sweep.ts'
import { OWN_JOURNEYS } from '../support/swept-journeys.ts'

for (const journey of OWN_JOURNEYS) sweepJourney(journey)
