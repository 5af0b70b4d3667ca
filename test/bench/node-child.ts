/** A process that runs nodes for a benchmark and does to them what it is told. */

import { keepYoungHeapSmall } from '../../src/heap.ts'

// As `feedmesh start` does, before anything large is loaded.
keepYoungHeapSmall()
const { answerCalls } = await import('./call-child.ts')
const { nodeMethods } = await import('./node-methods.ts')
answerCalls(nodeMethods())
