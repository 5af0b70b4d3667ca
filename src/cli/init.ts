/** `feedmesh init` */

import type { Command } from 'commander'
import type { Act } from './context.ts'
import { addNodeOptions, type NodeFlags, parseNodeFlags } from './node-options.ts'

export function registerInitCommand(program: Command, act: Act): void {
  const command = program
    .command('init')
    .description('make the data folder: identity, configuration and an admin key that is printed once')
  addNodeOptions(command).action(
    act<[], NodeFlags>(async ({ directory, output }, _, flags) => {
      const config = parseNodeFlags(flags)
      const { initDataFolder } = await import('../data-folder.ts')
      const { peerId, adminKey } = await initDataFolder(directory, config)
      output.document({ data: directory, peerId, adminKey }, () =>
        output.quiet
          ? adminKey
          : `Data folder ${directory} is made.\nPeerId: ${peerId}\nAdmin key of the operator (shown this once):\n${adminKey}`,
      )
      output.say(`Next: feedmesh start --data ${directory}`)
    }),
  )
}
