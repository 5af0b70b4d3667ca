/** `feedmesh restore DIR` */

import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Act } from './context.ts'

export function registerRestoreCommand(program: Command, act: Act): void {
  program
    .command('restore')
    .description('make the data folder from a backup; the node signs nothing until it has caught up with its peers')
    .argument('<dir>', 'folder made by feedmesh backup')
    .action(
      act<[string]>(async ({ directory, output }, [backup]) => {
        const { restoreDataFolder } = await import('../data-folder.ts')
        await restoreDataFolder(resolve(backup), directory)
        output.document({ data: directory }, () => `Data folder ${directory} is restored.`)
        output.say(`Next: feedmesh start --data ${directory}`)
      }),
    )
}
