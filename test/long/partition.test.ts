/**
 * Three hubs that mirror each other, each a process on a network host of its own, while the network between them breaks: a
 * cable is pulled, so that packets vanish and nobody is told.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { cleanEnv, MAIN } from '../cli/command.ts'
import { findNamespaceObstacle, type NamespaceHost, openNamespaceNetwork } from '../support/namespaces.ts'

/** Both ends find out within the limits of an exchange, redial with back-off, and poll once a minute. */
const HEAL_MS = 180_000

class Hub implements AsyncDisposable {
  readonly host: NamespaceHost
  readonly #folder: string
  readonly #stop: () => Promise<void>

  private constructor(host: NamespaceHost, folder: string, stop: () => Promise<void>) {
    this.host = host
    this.#folder = folder
    this.#stop = stop
  }

  static async start(host: NamespaceHost): Promise<Hub> {
    const folder = await mkdtemp(join(tmpdir(), 'feedmesh-partition-'))
    const { address } = host
    const listen = ['--http', `${address}:8624`, '--listen', `/ip4/${address}/tcp/8625`, '--log-level', 'error']
    const child = host.spawn(
      process.execPath,
      [MAIN, 'start', '--json', '--data', join(folder, 'data'), ...listen],
      cleanEnv({}),
    )
    const exited = once(child, 'exit')
    const stop = async () => {
      child.kill('SIGTERM')
      await exited
      await rm(folder, { recursive: true })
    }
    const errors = text(child.stderr!)
    const { value } = await createInterface({ input: child.stdout! })[Symbol.asyncIterator]().next()
    if (value === undefined) {
      await stop()
      throw new Error(`the hub did not start: ${await errors}`)
    }
    return new Hub(host, folder, stop)
  }

  /** Runs a command on the hub's host. @returns the document that it prints */
  async run(...args: string[]): Promise<Record<string, unknown>> {
    const child = this.host.spawn(
      process.execPath,
      [MAIN, ...args, '--json', '--data', join(this.#folder, 'data')],
      cleanEnv({}),
    )
    const [out, errors] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'exit')])
    assert.equal(child.exitCode, 0, `${args.join(' ')}: ${errors}`)
    return JSON.parse(out) as Record<string, unknown>
  }

  async publish(name: string): Promise<void> {
    const file = join(this.#folder, name)
    await writeFile(file, `content of ${name}`)
    await this.run('publish', 'files', file)
  }

  async digest(): Promise<unknown> {
    return (await this.run('feed', 'show', 'files'))['digest']
  }

  async entries(): Promise<unknown> {
    return (await this.run('feed', 'show', 'files'))['entries']
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stop()
  }
}

async function mirror(from: Hub, to: Hub): Promise<void> {
  const feed = ['--feed', 'files', '--mode', 'mirror', '--every', '10s']
  const { token } = await to.run('replication', 'add', ...feed, '--incoming', '--token', 'new')
  const url = `http://${to.host.address}:8624`
  await from.run('replication', 'add', ...feed, '--outgoing', '--token', String(token), '--url', url)
}

async function awaitEqual(hubs: readonly Hub[], entries: number): Promise<void> {
  const until = Date.now() + HEAL_MS
  for (;;) {
    const seen = await Promise.all(hubs.map(async (hub) => [await hub.digest(), await hub.entries()]))
    if (seen.every(([digest, count]) => digest === seen[0]?.[0] && count === entries)) return
    assert.ok(Date.now() < until, `not equal with ${entries} entries: ${JSON.stringify(seen)}`)
    await delay(1000)
  }
}

test('three hubs go on by themselves while cut off, and are equal after the network heals', {
  skip: findNamespaceObstacle() ?? false,
  timeout: 900_000,
}, async () => {
  using network = openNamespaceNetwork(3)
  await using stack = new AsyncDisposableStack()
  const hubs: Hub[] = []
  for (const host of network.hosts) hubs.push(stack.use(await Hub.start(host)))
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  for (const hub of hubs) await hub.run('feed', 'create', 'files', '--type', 'assets')
  for (const [from, to] of [
    [b, a],
    [c, b],
    [a, c],
  ] as const)
    await mirror(from, to)
  for (const [index, hub] of hubs.entries()) await hub.publish(`before-${index}.txt`)
  await awaitEqual(hubs, 3)

  c.host.cut()
  for (const [index, hub] of hubs.entries()) await hub.publish(`during-${index}.txt`)
  await awaitEqual([a, b], 5)
  assert.equal(await c.entries(), 4, 'the hub that is cut off goes on by itself')

  c.host.join()
  await awaitEqual(hubs, 6)

  a.host.cut()
  b.host.cut()
  for (const [index, hub] of hubs.entries()) await hub.publish(`alone-${index}.txt`)
  for (const hub of hubs) assert.equal(await hub.entries(), 7)
  a.host.join()
  b.host.join()
  await awaitEqual(hubs, 9)
})
