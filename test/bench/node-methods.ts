/** What a benchmark can ask of the process that runs its nodes. Nodes are named by their data folders. */

import { setTimeout as delay } from 'node:timers/promises'
import { Packuments } from '../../protocols/feeds/npm/packument.ts'
import type { Config } from '../../src/config.ts'
import { dataPaths, initDataFolder, isDataFolder } from '../../src/data-folder.ts'
import type { NewReplication } from '../../src/http/operations.ts'
import { stateWrite } from '../../src/ledger/feed-state.ts'
import { Registry } from '../../src/ledger/registry.ts'
import { createLog } from '../../src/log.ts'
import { openNode, type RunningNode } from '../../src/node.ts'
import { openLevelRecords } from '../../src/store/level-records.ts'
import { measureRows, randomIndexes, range, writeEntries } from './entries.ts'

const ACTOR = { name: 'bench', from: 'bench' }
const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }

export interface OpenedNode {
  readonly http: string
  readonly peerId: string
  readonly listen: readonly string[]
  readonly bulk: string | null
  /** From the call to the running node, s. */
  readonly seconds: number
  /** The data folder was made by the call. */
  readonly isNew: boolean
}

export interface ProcessUse {
  readonly rssBytes: number
  readonly peakRssBytes: number
  readonly heapBytes: number
  /** CPU time of the process so far, s. */
  readonly cpuSeconds: number
}

/** Which entries of a filled feed: the first, random ones, or runs of neighbours. */
export interface EntryChoice {
  readonly kind: 'all' | 'random' | 'burst'
  readonly count: number
  readonly of: number
}

export interface Arrival {
  readonly seconds: number
  /** Until it was known what is to be fetched, s; 0 when that was nothing, or too quick to be seen. */
  readonly metadataSeconds: number
}

/** Looking costs the node time, so it is done less often once an arrival takes long. */
const LOOK_EVERY_MS = 5
const LOOK_LATER_EVERY_MS = 50
const ARRIVAL_TIMEOUT_MS = 3_600_000

const BURST = 50
/** Publishes of small files under way at once. */
const PUBLISHERS = 64

function chooseEntries({ kind, count, of }: EntryChoice): number[] {
  if (kind === 'all') return range(0, count)
  if (kind === 'random') return randomIndexes(count, of, 7)
  const starts = randomIndexes(Math.ceil(count / BURST), Math.floor(of / BURST), 11)
  return starts.flatMap((start) => range(start * BURST, (start + 1) * BURST)).slice(0, count)
}

/** Looks at the node until its feed equals `digest`, and at the run that brings it there. */
async function awaitArrival(node: RunningNode, feed: string, digest: string): Promise<Arrival> {
  const start = performance.now()
  let metadataSeconds = 0
  while ((await node.operations.showFeed(feed)).digest !== digest) {
    const elapsed = performance.now() - start
    const [run] = await node.operations.listRuns(1)
    if (elapsed > ARRIVAL_TIMEOUT_MS) throw new Error(`the feed did not become equal: ${JSON.stringify(run)}`)
    if (metadataSeconds === 0 && run?.state === 'running' && run.planned.items > 0) metadataSeconds = elapsed / 1000
    await delay(elapsed < 1000 ? LOOK_EVERY_MS : LOOK_LATER_EVERY_MS)
  }
  return { seconds: (performance.now() - start) / 1000, metadataSeconds }
}

export function nodeMethods() {
  const nodes = new Map<string, RunningNode>()
  const packuments = new Packuments()
  const getNode = (folder: string): RunningNode => {
    const node = nodes.get(folder)
    if (node === undefined) throw new Error(`no node runs on ${folder}`)
    return node
  }
  const getFeed = (folder: string, feed: string) => getNode(folder).operations.openFeed(feed)
  return {
    async open(folder: string, overrides: Partial<Config> = {}): Promise<OpenedNode> {
      const isNew = !(await isDataFolder(folder))
      if (isNew) await initDataFolder(folder, LOOPBACK)
      const start = performance.now()
      const node = await openNode({ directory: folder, overrides, log: createLog('info') })
      const seconds = (performance.now() - start) / 1000
      nodes.set(folder, node)
      return { http: node.http, peerId: node.peerId, listen: node.listen, bulk: node.bulk, seconds, isNew }
    },

    async close(folder: string): Promise<void> {
      await getNode(folder)[Symbol.asyncDispose]()
      nodes.delete(folder)
    },

    async createFeed(folder: string, name: string, type: string): Promise<void> {
      await getNode(folder).operations.createFeed({ name, type, publicRead: true }, ACTOR)
    },

    async createKey(folder: string, feed: string): Promise<string> {
      return (await getNode(folder).operations.createKey({ feed, can: ['read', 'publish'] }, ACTOR)).key
    },

    async write(folder: string, feed: string, choice: EntryChoice, revision: number): Promise<void> {
      await writeEntries(getFeed(folder, feed), chooseEntries(choice), revision)
    },

    /** @returns bytes of the chosen rows, encoded */
    async rowBytes(folder: string, feed: string, choice: EntryChoice): Promise<number> {
      return await measureRows(getFeed(folder, feed), chooseEntries(choice))
    },

    /** Publishes one file of `bytes` random bytes as an asset. */
    async publishAsset(
      folder: string,
      feed: string,
      file: { readonly name: string; readonly bytes: number },
    ): Promise<void> {
      const block = crypto.getRandomValues(Buffer.alloc(64 * 1024))
      async function* content() {
        for (let at = 0; at < file.bytes; at += block.length) {
          block.writeDoubleBE(at)
          block.writeDoubleBE(Math.random(), 8)
          yield Buffer.from(block.subarray(0, Math.min(block.length, file.bytes - at)))
        }
      }
      await getNode(folder).operations.publishFile(feed, { name: file.name, size: file.bytes, open: content }, ACTOR)
    },

    /** Publishes many small files of random bytes. */
    async publishAssets(
      folder: string,
      feed: string,
      files: { readonly prefix: string; readonly count: number; readonly bytes: number },
    ): Promise<void> {
      const { operations } = getNode(folder)
      let next = 0
      const publish = async () => {
        for (let at = next++; at < files.count; at = next++) {
          const content = crypto.getRandomValues(Buffer.alloc(files.bytes))
          async function* open() {
            yield content
          }
          await operations.publishFile(feed, { name: `${files.prefix}/${at}.bin`, size: files.bytes, open }, ACTOR)
        }
      }
      await Promise.all(Array.from({ length: PUBLISHERS }, publish))
    },

    /** @returns the token */
    async offer(folder: string, feed: string): Promise<string> {
      const created = await getNode(folder).operations.addReplication(
        { feeds: [{ local: feed }], communication: 'incoming', mode: 'push', token: 'new' },
        ACTOR,
      )
      return created.token ?? ''
    },

    /** @returns the id of the replication */
    async link(
      folder: string,
      feed: string,
      other: Pick<NewReplication, 'url' | 'addresses' | 'token' | 'everyMs'>,
    ): Promise<string> {
      const created = await getNode(folder).operations.addReplication(
        { feeds: [{ local: feed }], communication: 'outgoing', mode: 'pull', ...other },
        ACTOR,
      )
      return created.id
    },

    /** One run now; it ends with the confirmation of the other end. */
    async run(folder: string, replication: string): Promise<void> {
      const { state, failed } = await getNode(folder).operations.runReplication(replication, {})
      if (state !== 'succeeded') throw new Error(`the run ended ${state}: ${JSON.stringify(failed.slice(0, 3))}`)
    },

    /** A paused replication has no connection of its own. */
    async pause(folder: string, replication: string, paused: boolean): Promise<void> {
      await getNode(folder).operations.pauseReplication(replication, paused, ACTOR)
    },

    async digestOf(folder: string, feed: string): Promise<string> {
      return (await getNode(folder).operations.showFeed(feed)).digest
    },

    async awaitDigest(folder: string, feed: string, digest: string): Promise<Arrival> {
      return await awaitArrival(getNode(folder), feed, digest)
    },

    /** @returns what the newest run took */
    async lastRunSeconds(folder: string): Promise<number> {
      const node = getNode(folder)
      for (;;) {
        const [run] = await node.operations.listRuns(1)
        if (run !== undefined && run.endedAt !== null)
          return (Date.parse(run.endedAt) - Date.parse(run.startedAt)) / 1000
        await delay(LOOK_EVERY_MS)
      }
    },

    async countEntries(
      folder: string,
      feed: string,
    ): Promise<{ readonly entries: number; readonly fileBytes: number }> {
      const { entries, bytes } = await getNode(folder).operations.showFeed(feed)
      return { entries, fileBytes: bytes }
    },

    /** Makes the stopped node forget the log of every feed, as a node does that keeps only the newest part. */
    async forgetLog(folder: string): Promise<void> {
      await using records = await openLevelRecords({ directory: dataPaths(folder).records })
      const registry = await Registry.open(records)
      const states = [...registry.states.values()]
      await records.write(states.map((state) => stateWrite({ ...state, logFrom: state.manifest?.value.logSize ?? 0 })))
    },

    /** @returns how many versions had to be rendered for the document, by a renderer that stays warm */
    async countRendered(folder: string, feed: string, unit: string): Promise<number> {
      const handle = getFeed(folder, feed)
      const found = await handle.findUnit(unit)
      if (found === undefined) throw new Error(`no package ${unit}`)
      const before = packuments.renderedFragments
      await packuments.find({ feed: handle, unit: found, kind: 'abbreviated', baseUrl: 'http://localhost' }, 'identity')
      return packuments.renderedFragments - before
    },

    use(): ProcessUse {
      globalThis.gc?.()
      const { rss, heapUsed } = process.memoryUsage()
      const { user, system } = process.cpuUsage()
      return {
        rssBytes: rss,
        peakRssBytes: process.resourceUsage().maxRSS * 1024,
        heapBytes: heapUsed,
        cpuSeconds: (user + system) / 1e6,
      }
    },
  }
}

export type NodeMethods = ReturnType<typeof nodeMethods>
