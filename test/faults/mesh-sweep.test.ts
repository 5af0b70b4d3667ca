/** Every operation of every journey of a node and its peer fails in turn; see `support/failure-sweep.ts`. FAULT_PAIRS=1 adds pairs. */

import { sweepJourney } from '../support/failure-sweep.ts'
import { MESH_JOURNEYS } from '../support/swept-mesh-journeys.ts'

for (const journey of MESH_JOURNEYS) sweepJourney(journey)
