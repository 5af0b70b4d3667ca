/** The hub-and-spoke guide, steps 1 to 6, with the real clients, the hub stopped where it may be. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { curlScenario, findTool } from '../clients/assets/scenario.ts'
import { type ClientName, type FeedTarget, findClient, openWorkbench } from '../clients/npm/drivers.ts'
import { installScenario, publishLibrary } from '../clients/npm/scenario.ts'
import { ACTOR, createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

const NAMES = { scoped: '@acme/lib', plain: 'acme-tool' } as const

function missing(...clients: readonly ClientName[]): string | false {
  const absent = clients.filter((client) => findClient(client) === undefined)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')} (test/clients/install.sh)`
}

describe('hub and spoke', { skip: missing('npm'), timeout: 240_000 }, () => {
  let hub: TestNode
  let spoke: TestNode
  let second: TestNode
  let token = ''
  let joinCode = ''
  let replication = ''

  before(async () => {
    hub = await startNode()
    spoke = await startNode()
    second = await startNode()
  })

  after(async () => {
    for (const node of [spoke, second, hub]) await node[Symbol.asyncDispose]()
  })

  test('1 the hub has a feed, filled with the ecosystem’s own client', async (t) => {
    await createFeed(hub, 'packages')
    const target: FeedTarget = { url: `${hub.url}/npm/packages`, key: await createKey(hub, 'packages'), t }
    const npm = await openWorkbench(target, { client: 'npm' })
    await publishLibrary(npm, NAMES.scoped, ['1.0.0', '1.1.0'])
    await publishLibrary(npm, NAMES.plain, ['1.0.0', '1.1.0'])
    assert.equal((await hub.operations.showFeed('packages')).entries, 4)
  })

  test('2 the hub offers it: incoming, token required, push', async () => {
    const offered = await offerFeed(hub, 'packages')
    token = offered.token ?? ''
    joinCode = offered.joinCode ?? ''
    assert.ok(token.length > 40 && joinCode.length > token.length)
    assert.equal((await hub.operations.showReplication(offered.id)).state, 'waiting')
  })

  test('3 and 4 the spoke has a feed of another name and links with URL and token', async () => {
    await createFeed(spoke, 'shop')
    replication = (await linkFeed(spoke, 'shop', { url: hub.url, token })).id
    const [row] = await spoke.operations.listReplications()
    assert.deepEqual(row?.feeds, [{ local: 'shop', remote: 'packages' }])
  })

  test('5 a run brings everything, names each item, and leaves both ends equal', async () => {
    const result = await spoke.operations.runReplication(replication, {})
    assert.equal(result.state, 'succeeded')
    const { items } = await spoke.operations.showRun((await spoke.operations.listRuns(50)).at(-1)?.runId ?? 0)
    const fetched = items.filter((item) => item.action === 'fetched').map((item) => item.item)
    assert.deepEqual(fetched.sort(), ['@acme/lib@1.0.0', '@acme/lib@1.1.0', 'acme-tool@1.0.0', 'acme-tool@1.1.0'])
    const [mine, theirs] = [await spoke.operations.showFeed('shop'), await hub.operations.showFeed('packages')]
    assert.equal(mine.digest, theirs.digest)
    assert.equal(mine.sources[0]?.digest, theirs.digest)
    for (const node of [hub, spoke])
      assert.equal((await node.operations.listReplications())[0]?.links[0]?.confirmed?.equal, true)
  })

  test('what is read at the spoke is byte for byte what the hub answers, but for the base URL', async () => {
    const read = async (node: TestNode, feed: string, accept: string) => {
      const base = `${node.url}/npm/${feed}`
      const response = await fetch(`${base}/@acme%2flib`, {
        headers: { accept, authorization: `Bearer ${await createKey(node, feed)}` },
      })
      assert.equal(response.status, 200)
      return { body: (await response.text()).replaceAll(base, 'BASE') }
    }
    for (const accept of ['application/json', 'application/vnd.npm.install-v1+json']) {
      assert.deepEqual(await read(spoke, 'shop', accept), await read(hub, 'packages', accept))
    }
  })

  test('6 a second spoke joins by code; nothing changes on the hub', async () => {
    const before = await hub.operations.listReplications()
    const joined = await second.operations.join(joinCode, undefined, ACTOR)
    assert.deepEqual(joined.feeds, [{ name: 'packages', type: 'npm' }])
    assert.equal((await second.operations.runReplication(joined.replications[0] ?? '', {})).state, 'succeeded')
    assert.equal((await hub.operations.listReplications()).length, before.length)
    assert.equal(
      (await second.operations.showFeed('packages')).digest,
      (await hub.operations.showFeed('packages')).digest,
    )
  })

  describe('with the hub stopped', { concurrency: 2 }, () => {
    before(() => hub.stop())

    for (const client of ['npm', 'pnpm', 'yarn1', 'yarn4', 'bun', 'deno'] as const) {
      test(`5 ${client} installs from the spoke`, { skip: missing(client), timeout: 120_000 }, async (t) => {
        await installScenario({ url: `${spoke.url}/npm/shop`, key: await createKey(spoke, 'shop'), t }, client, NAMES)
      })
    }

    test('6 npm installs from the second spoke', async (t) => {
      await installScenario(
        { url: `${second.url}/npm/packages`, key: await createKey(second, 'packages'), t },
        'npm',
        NAMES,
      )
    })

    test('the spoke says that the hub is gone, and what to do', async () => {
      spoke.advance(11_000)
      const problem = (await spoke.operations.doctor()).find((one) => one.code === 'PEER_UNREACHABLE')
      assert.match(problem?.message ?? '', /no connection with 12D3Koo/)
      assert.match(problem?.cure ?? '', /feedmesh replication edit/)
    })
  })

  test('the hub comes back and a publish made meanwhile arrives', async (t) => {
    await hub.restart()
    const target: FeedTarget = { url: `${hub.url}/npm/packages`, key: await createKey(hub, 'packages'), t }
    await publishLibrary(await openWorkbench(target, { client: 'npm' }), NAMES.plain, ['2.0.0'])
    assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
    assert.equal((await spoke.operations.showFeed('shop')).entries, 5)
  })
})

describe('an assets feed', {
  skip: findTool('curl') === undefined ? 'not installed: curl' : false,
  timeout: 120_000,
}, () => {
  test('curl fills it on the hub, and reads it from the spoke while the hub is stopped', async (t) => {
    await using hub = await startNode()
    await using spoke = await startNode()
    await createFeed(hub, 'files', 'assets')
    await createFeed(spoke, 'files', 'assets')
    await curlScenario({ url: `${hub.url}/endpoints/files`, key: await createKey(hub, 'files'), t })
    const upload = await fetch(`${hub.url}/endpoints/files/content/a/b.bin`, {
      method: 'PUT',
      body: Buffer.alloc(200_000, 7),
      headers: { 'x-apikey': await createKey(hub, 'files') },
    })
    assert.ok(upload.ok)
    const { token = '' } = await offerFeed(hub, 'files')
    const { id } = await linkFeed(spoke, 'files', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    await hub.stop()
    const answer = await fetch(`${spoke.url}/endpoints/files/content/a/b.bin`, {
      headers: { 'x-apikey': await createKey(spoke, 'files'), range: 'bytes=10-19' },
    })
    assert.equal(answer.status, 206)
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), Buffer.alloc(10, 7))
  })
})
