/** A child process with one node of this checkout. */

import { join } from 'node:path'
import type { Config } from '../../src/config.ts'
import { CallChild } from './call-child.ts'
import type { NodeMethods, OpenedNode } from './node-methods.ts'

const SCRIPT = join(import.meta.dirname, 'node-child.ts')

export interface BenchNode extends OpenedNode, AsyncDisposable {
  readonly folder: string
  readonly child: CallChild<NodeMethods>
}

/** As the launcher gives them. */
const HEAP_FLAGS = ['--min-semi-space-size=4', '--max-semi-space-size=4']

export function openNodeProcess(folder: string, nodeOptions: readonly string[] = []): CallChild<NodeMethods> {
  return new CallChild<NodeMethods>(SCRIPT, { nodeOptions: [...HEAP_FLAGS, ...nodeOptions], logFile: `${folder}.log` })
}

/** Starts a process and in it a node on `folder`, which is made when it is not there. */
export async function startNode(folder: string, overrides: Partial<Config> = {}): Promise<BenchNode> {
  const profile = process.env.BENCH_PROFILE
  const nodeOptions = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const child = openNodeProcess(folder, nodeOptions)
  try {
    const opened = await child.call('open', folder, overrides)
    return {
      ...opened,
      folder,
      child,
      async [Symbol.asyncDispose]() {
        await child.call('close', folder)
        await child[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await child[Symbol.asyncDispose]()
    throw error
  }
}
