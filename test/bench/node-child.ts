/** A process that runs nodes for a benchmark and does to them what it is told. */

import { answerCalls } from './call-child.ts'
import { nodeMethods } from './node-methods.ts'

answerCalls(nodeMethods())
