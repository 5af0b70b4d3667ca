/** Whole nodes in this process, on free loopback ports and temporary folders, gone with the test. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../src/config.ts'
import { initDataFolder } from '../../src/data-folder.ts'
import type { NewReplication, NodeOperations, ReplicationCreated } from '../../src/http/operations.ts'
import { createLog } from '../../src/log.ts'
import { openNode, type RunningNode } from '../../src/node.ts'

export const ACTOR = { name: 'test', from: 'test' } as const

export interface TestNode extends AsyncDisposable {
  readonly directory: string
  readonly adminKey: string
  readonly running: RunningNode
  readonly operations: NodeOperations
  readonly url: string
  /** Stops the process's part, keeps the folder. */
  stop(): Promise<void>
  /** Starts again on the same ports, as a restarted process would. */
  restart(): Promise<void>
  /** Sets the node's clock ahead. */
  advance(ms: number): void
}

const LOOPBACK: Partial<Config> = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'], logLevel: 'silent' }

/** The ports a node was given, so that peers find it again after a restart. */
function samePorts(node: RunningNode): Partial<Config> {
  const listen = node.listen.map((address) => address.replace(/\/p2p\/.*$/, ''))
  return { http: new URL(node.http).host, listen }
}

export async function startNode(overrides: Partial<Config> = {}): Promise<TestNode> {
  const directory = await mkdtemp(join(tmpdir(), 'feedmesh-node-'))
  const { adminKey } = await initDataFolder(directory, LOOPBACK)
  return await openTestNode(directory, adminKey, overrides)
}

/** A node over a folder that is there already. */
export async function openTestNode(
  directory: string,
  adminKey: string,
  overrides: Partial<Config> = {},
): Promise<TestNode> {
  const log = createLog('silent')
  let ahead = 0
  const now = () => Date.now() + ahead
  let running: RunningNode | undefined = await openNode({ directory, overrides, log, now })
  let ports = samePorts(running)
  const getRunning = (): RunningNode => {
    if (running === undefined) throw new Error('the node is stopped')
    return running
  }
  const stop = async () => {
    await running?.[Symbol.asyncDispose]()
    running = undefined
  }
  return {
    directory,
    adminKey,
    get running() {
      return getRunning()
    },
    get operations() {
      return getRunning().operations
    },
    get url() {
      return getRunning().http
    },
    stop,
    restart: async () => {
      await stop()
      running = await openNode({ directory, overrides: { ...overrides, ...ports }, log, now })
      ports = samePorts(running)
    },
    advance: (ms) => {
      ahead += ms
    },
    [Symbol.asyncDispose]: async () => {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A hub's incoming push on a feed. */
export function offerFeed(
  hub: TestNode,
  feed: string,
  more: Partial<NewReplication> = {},
): Promise<ReplicationCreated> {
  return hub.operations.addReplication(
    { feeds: [{ local: feed }], communication: 'incoming', mode: 'push', token: 'new', ...more },
    ACTOR,
  )
}

/** A spoke's outgoing pull into a feed. */
export function linkFeed(spoke: TestNode, feed: string, more: Partial<NewReplication>): Promise<ReplicationCreated> {
  return spoke.operations.addReplication(
    { feeds: [{ local: feed }], communication: 'outgoing', mode: 'pull', ...more },
    ACTOR,
  )
}

export async function createFeed(node: TestNode, name: string, type = 'npm'): Promise<void> {
  await node.operations.createFeed({ name, type, publicRead: false }, ACTOR)
}

export async function createKey(node: TestNode, feed: string): Promise<string> {
  return (await node.operations.createKey({ feed, can: ['read', 'publish', 'delete'] }, ACTOR)).key
}

/** Writes a version with one file, past the ecosystem's own checks. */
export async function publishRow(
  node: TestNode,
  feed: string,
  item: { readonly unit: string; readonly version: string; readonly content: Uint8Array },
): Promise<void> {
  const opened = node.operations.openFeed(feed)
  await using staged = await opened.stage({ maxBytes: item.content.length })
  await staged.write(item.content)
  const blob = await staged.seal()
  const meta = Buffer.from(JSON.stringify({ manifest: { name: item.unit, version: item.version }, root: {} }))
  await opened.change(item.unit, () => ({
    put: [{ key: `v/${item.version}`, rowClass: 'immutable', meta, files: [{ role: 'tarball', blob }] }],
  }))
}
