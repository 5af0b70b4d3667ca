/** Preloaded into a process that hunts a planted bug, which SIM_PLANT names: breaks one file as it is loaded. */

import { registerHooks } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PLANTED_BUGS } from './planted-bugs.ts'

const name = process.env['SIM_PLANT']
const bug = PLANTED_BUGS.find((each) => each.name === name)
if (bug === undefined) throw new Error(`no planted bug is called ${name}`)
const target = pathToFileURL(resolve(import.meta.dirname, '../..', bug.file)).href

registerHooks({
  load: (url, context, nextLoad) => {
    const loaded = nextLoad(url, context)
    if (url !== target) return loaded
    const source = Buffer.from(loaded.source as Uint8Array).toString()
    if (source.split(bug.find).length !== 2)
      throw new Error(
        `${bug.file} does not have what the planted bug “${bug.name}” replaces; choose another place for it`,
      )
    return { ...loaded, source: source.replace(bug.find, () => bug.replace) }
  },
})
