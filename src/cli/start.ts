/** `feedmesh start`: the node itself, in the foreground until it is told to stop. */

import { once } from 'node:events'
import type { Command } from 'commander'
import { parseConfig, readConfig } from '../config.ts'
import { keepYoungHeapSmall } from '../heap.ts'
import { VERSION } from '../version.ts'
import type { Act, Context } from './context.ts'
import { addNodeOptions, type NodeFlags, parseNodeFlags } from './node-options.ts'

export function registerStartCommand(program: Command, act: Act): void {
  const command = program
    .command('start')
    .description('run the node in the foreground; makes the data folder when there is none')
  addNodeOptions(command).action(
    act<[], NodeFlags>(async (context, _, flags) => {
      const { directory, output, signal } = context
      keepYoungHeapSmall()
      const overrides = parseNodeFlags(flags)
      await initWhenEmpty(context)
      const { verifyNotNewer } = await import('../data-folder.ts')
      await verifyNotNewer(directory)
      const config = parseConfig({ ...(await readConfig(directory)), ...overrides }, 'the configuration')
      const { openNode } = await import('../node.ts')
      const { createLog } = await import('../log.ts')
      const log = createLog(config.logLevel)
      await using node = await openNode({ directory, overrides, log })
      const { http, peerId, listen, bulk } = node
      output.document(
        { event: 'ready', http, peerId, listen, bulk },
        () => `Feedmesh ${VERSION} is ready: ${http}  PeerId ${peerId}`,
      )
      if (!signal.aborted) await once(signal, 'abort')
      log.info('stopping')
    }),
  )
}

/** The key goes to stderr, so that stdout holds nothing but events. */
async function initWhenEmpty({ directory, output }: Context): Promise<void> {
  const { initDataFolder, isDataFolder } = await import('../data-folder.ts')
  if (await isDataFolder(directory)) return
  const { adminKey } = await initDataFolder(directory, {})
  output.alert(`Data folder ${directory} is made. Admin key of the operator (shown this once): ${adminKey}`)
}
