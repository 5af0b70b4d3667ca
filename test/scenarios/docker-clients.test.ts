/** A docker feed with the real clients: filled on the hub, read from the spoke while the hub is stopped. */

import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { missing, openWorkbench, type Workbench } from '../clients/docker/drivers.ts'
import {
  buildahPush,
  craneScenario,
  helmScenario,
  multiArchPush,
  multiArchRead,
  orasScenario,
  podmanPush,
  podmanRead,
  skopeoDelete,
  skopeoPush,
  skopeoRead,
} from '../clients/docker/scenario.ts'
import { ACTOR, createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

const TIMEOUT = { timeout: 120_000 }

async function openBench(node: TestNode, t: TestContext, isAnonymous = false): Promise<Workbench> {
  const host = new URL(node.url).host
  return await openWorkbench(
    isAnonymous ? { host, feed: 'images', t } : { host, feed: 'images', key: await createKey(node, 'images'), t },
  )
}

describe('docker clients, hub and spoke', { timeout: 600_000 }, () => {
  let hub: TestNode
  let spoke: TestNode

  before(async () => {
    hub = await startNode()
    spoke = await startNode()
    await createFeed(hub, 'images', 'docker')
    await spoke.operations.createFeed({ name: 'images', type: 'docker', publicRead: true }, ACTOR)
  })

  after(async () => {
    for (const node of [spoke, hub]) await node[Symbol.asyncDispose]()
  })

  const hubTests = [
    ['skopeo pushes, copies within, moves a tag and reads', ['skopeo', 'umoci'], skopeoPush],
    ['skopeo deletes', ['skopeo', 'umoci'], skopeoDelete],
    ['buildah pushes an index of two architectures', ['buildah', 'skopeo', 'umoci'], multiArchPush],
    ['buildah builds and pushes', ['buildah'], buildahPush],
    ['podman pulls and pushes', ['podman', 'buildah'], podmanPush],
    ['crane copies, lists and pulls', ['crane', 'skopeo', 'umoci'], craneScenario],
    ['oras pushes, attaches, discovers and pulls', ['oras'], orasScenario],
    ['helm pushes and pulls a chart', ['helm'], helmScenario],
  ] as const
  for (const [title, clients, scenario] of hubTests)
    test(title, { skip: missing(...clients), ...TIMEOUT }, async (t) => scenario(await openBench(hub, t)))

  test('skopeo without a key is refused, with a wrong one too', { skip: missing('skopeo'), ...TIMEOUT }, async (t) => {
    const image = `docker://${new URL(hub.url).host}/images/team/tools:v1`
    for (const key of [undefined, 'fmk_wrong']) {
      const target = { host: new URL(hub.url).host, feed: 'images', t }
      const bench = await openWorkbench(key === undefined ? target : { ...target, key })
      const { exitCode, stderr } = await bench.run('skopeo', 'inspect', '--tls-verify=false', image)
      assert.notEqual(exitCode, 0)
      assert.match(stderr, /unauthorized|authentication required|API key|access to the resource is denied/i)
    }
  })

  test('the spoke takes it over', async () => {
    const { token = '' } = await offerFeed(hub, 'images')
    const { id } = await linkFeed(spoke, 'images', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    const [mine, theirs] = [await spoke.operations.showFeed('images'), await hub.operations.showFeed('images')]
    assert.equal(mine.digest, theirs.digest)
  })

  describe('with the hub stopped', () => {
    before(() => hub.stop())

    const spokeTests = [
      ['skopeo reads by tag and digest', ['skopeo', 'umoci'], skopeoRead],
      ['skopeo reads an index of two architectures', ['buildah', 'skopeo', 'umoci'], multiArchRead],
      ['podman pulls', ['podman', 'buildah'], podmanRead],
    ] as const
    for (const [title, clients, scenario] of spokeTests) {
      test(title, { skip: missing(...clients), ...TIMEOUT }, async (t) => scenario(await openBench(spoke, t)))
      test(`${title}, without a key`, { skip: missing(...clients), ...TIMEOUT }, async (t) =>
        scenario(await openBench(spoke, t, true)),
      )
    }
  })
})
