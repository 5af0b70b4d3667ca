/** Every operation while a state comes by a shadow fails in turn; see `support/failure-sweep.ts`. */

import { sweepJourney } from '../support/failure-sweep.ts'
import { SHADOW_JOURNEYS } from '../support/swept-shadow-journeys.ts'

for (const journey of SHADOW_JOURNEYS) sweepJourney(journey)
