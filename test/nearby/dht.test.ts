/** Whole nodes on loopback that nobody introduced find each other through the DHT, with their hub down. */

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { parseNodeFlags } from '../../src/cli/node-options.ts'
import { type Config, parseConfig } from '../../src/config.ts'
import { initDataFolder } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { NewReplication } from '../../src/http/operations.ts'
import { createLog } from '../../src/log.ts'
import { openNode, type RunningNode } from '../../src/node.ts'
import { ACTOR, createFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'

const CONTENT = Buffer.alloc(300_000, 3)

/** A node that is stopped and started again, and whose log is heard. */
class LoggedNode implements AsyncDisposable {
  readonly directory: string
  readonly overrides: Partial<Config>
  readonly #lines = new PassThrough()
  readonly #heard = createInterface({ input: this.#lines })
  #running: RunningNode | undefined

  constructor(directory: string, overrides: Partial<Config>) {
    this.directory = directory
    this.overrides = overrides
  }

  static async start(overrides: Partial<Config>): Promise<LoggedNode> {
    const directory = await mkdtemp(join(tmpdir(), 'feedmesh-dht-'))
    await initDataFolder(directory, { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] })
    await using stack = new AsyncDisposableStack()
    const node = stack.use(new LoggedNode(directory, overrides))
    await node.start()
    stack.move()
    return node
  }

  async start(): Promise<void> {
    const log = createLog('debug', this.#lines)
    this.#running = await openNode({ directory: this.directory, overrides: this.overrides, log })
  }

  async stop(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]()
    this.#running = undefined
  }

  get running(): RunningNode {
    assert.ok(this.#running)
    return this.#running
  }

  /** Waits for a line of the log that comes after this call. */
  async heard(text: string): Promise<string> {
    const line = Promise.withResolvers<string>()
    const signal = AbortSignal.timeout(30_000)
    signal.addEventListener('abort', () => line.reject(new Error(`no line says ${JSON.stringify(text)}`)))
    const listen = (one: string) => {
      if (one.includes(text)) line.resolve(one)
    }
    this.#heard.on('line', listen)
    try {
      return await line.promise
    } finally {
      this.#heard.off('line', listen)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    this.#heard.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

const PACKAGES = { name: 'packages', type: 'npm', publicRead: false } as const

async function joinHub(hub: TestNode, { running }: LoggedNode, more: Partial<NewReplication>): Promise<void> {
  await running.operations.createFeed(PACKAGES, ACTOR)
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await running.operations.addReplication(
    {
      feeds: [{ local: 'packages' }],
      communication: 'outgoing',
      mode: 'pull',
      url: hub.url,
      token,
      everyMs: 3_600_000,
      ...more,
    },
    ACTOR,
  )
  assert.equal((await running.operations.runReplication(id, {})).state, 'succeeded')
}

async function download({ running }: LoggedNode): Promise<Buffer> {
  const { key } = await running.operations.createKey({ feed: 'packages', can: ['read'] }, ACTOR)
  const deadline = Date.now() + 30_000
  for (;;) {
    const response = await fetch(`${running.http}/npm/packages/large/-/large-1.0.0.tgz`, {
      headers: { authorization: `Bearer ${key}` },
    })
    const body = Buffer.from(await response.arrayBuffer())
    if (response.status === 200) return body
    // The two have to find each other first.
    assert.ok(Date.now() < deadline, `${response.status} ${body.toString()}`)
  }
}

test('a spoke installs from one of another site, whom it knows from nobody but the DHT, with the hub down', {
  timeout: 120_000,
}, async () => {
  await using middle = await startNode({ dht: true })
  const dht = { dht: true, bootstrap: [...middle.running.listen] } as const
  await using hub = await startNode({ site: 'berlin', region: 'eu' })
  await createFeed(hub, 'packages')
  await publishRow(hub, 'packages', { unit: 'large', version: '1.0.0', content: CONTENT })
  await using giver = await LoggedNode.start({ ...dht, site: 'paris', region: 'eu' })
  await joinHub(hub, giver, { serve: 'any' })
  // The hub never sees both at once.
  await giver.stop()
  await using seeker = await LoggedNode.start({ ...dht, site: 'tokyo', region: 'asia' })
  await joinHub(hub, seeker, { availability: 'on-demand' })
  await hub.stop()
  await seeker.stop()
  const announced = giver.heard('the feed is announced in the directory')
  await giver.start()
  await announced
  const lookedUp = seeker.heard('the feed was looked up in the directory')
  await seeker.start()
  assert.match(await lookedUp, /"found":1/)
  assert.ok(CONTENT.equals(await download(seeker)))
  const peers = await seeker.running.operations.peers()
  assert.deepEqual(
    peers
      .filter(({ connected }) => connected)
      .map(({ peerId }) => peerId)
      .sort(),
    [middle.running.peerId, giver.running.peerId].sort(),
  )
})

test('with no bootstrap peer that can be reached a node does its work all the same', { timeout: 60_000 }, async () => {
  const gone = await startNode()
  const address = gone.running.listen[0]!
  await gone[Symbol.asyncDispose]()
  await using node = await LoggedNode.start({ dht: true, bootstrap: [address] })
  const line = JSON.parse(await node.heard('a bootstrap peer is not reachable')) as { level: string }
  assert.equal(line.level, 'debug')
  await node.running.operations.createFeed(PACKAGES, ACTOR)
})

test('a bootstrap address whose PeerId is none is named', { timeout: 60_000 }, async () => {
  const wrong = `/ip4/192.0.2.1/tcp/8625/p2p/12D3KooW${'x'.repeat(44)}`
  await assert.rejects(
    LoggedNode.start({ dht: true, bootstrap: [wrong] }),
    (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.includes(wrong),
  )
})

test('the DHT is off unless asked for, a bootstrap peer on the command line asks for it, and what is wrong is named', () => {
  const address = '/dns4/hub.example/tcp/8625/p2p/12D3KooWHpe9rCDz81Xex9QRjN6ue47Pkqgd4CAryjVaqVPngn8a'
  const { dht, bootstrap } = parseConfig({}, 'the test')
  assert.deepEqual([dht, bootstrap], [false, []])
  assert.deepEqual(parseNodeFlags({ dht: true }), { dht: true })
  assert.deepEqual(parseNodeFlags({ bootstrap: [address] }), { bootstrap: [address], dht: true })
  const wrong: readonly [Record<string, unknown>, RegExp][] = [
    [{ bootstrap: [address] }, /the test: bootstrap names nodes of the DHT; set dht to true/],
    [{ dht: 'yes' }, /dht must be true or false, not "yes"/],
    [{ dht: true, bootstrap: address }, /bootstrap must be a list/],
    [{ dht: true, bootstrap: ['/ip4/192.0.2.1/tcp/8625'] }, /bootstrap must be a list .*192\.0\.2\.1/],
    [{ dht: true, bootstrap: ['/ip4/192.0.2.1/udp/1/p2p/12D3KooW'] }, /such as \/ip4\/192\.0\.2\.1\/tcp/],
    [{ dht: true, bootstrap: Array.from({ length: 33 }, () => address) }, /at most 32 addresses/],
  ]
  for (const [config, message] of wrong)
    assert.throws(
      () => parseConfig(config, 'the test'),
      (error) => isFeedmeshError(error, 'BAD_INPUT') && message.test(error.message),
      String(message),
    )
})
