/** Packages pushed to a hub with the real clients, and used at a spoke while the hub is stopped. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { findNuget, type NugetClient, openNugetBench } from '../clients/nuget/drivers.ts'
import { installFromPages, installPackages, listPackages, publishPackages } from '../clients/nuget/scenario.ts'
import { createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

const WAYS: readonly (readonly [NugetClient, 'v2' | 'v3', string])[] = [
  ['nuget 2.8', 'v2', 'nuget'],
  ['nuget 2.8', 'v2', 'chocolatey'],
  ['nuget 5.8', 'v2', 'nuget'],
  ['nuget 5.8', 'v3', 'nuget'],
]

for (const [client, protocol, type] of WAYS) {
  const skip = findNuget(client) === undefined ? `not installed: ${client} on mono (test/clients/install.sh)` : false
  describe(`${client}, ${protocol}, a ${type} feed on hub and spoke`, { skip, timeout: 300_000 }, () => {
    let hub: TestNode
    let spoke: TestNode
    let replication = ''
    const all = ['Acme.Lib 1.0', 'Acme.Lib 1.10', 'Acme.Lib 2.0', 'acme.tool 0.1']
    const short = (lines: readonly string[]) => lines.map((line) => line.replace(/^(\S+ \d+\.\d+).*$/, '$1'))
    const open = async (node: TestNode, t: Parameters<typeof openNugetBench>[0]['t']) => {
      const key = await createKey(node, 'packages')
      return { key, bench: await openNugetBench({ url: `${node.url}/nuget/packages`, key, t }, client, protocol) }
    }

    before(async () => {
      hub = await startNode()
      spoke = await startNode()
      for (const node of [hub, spoke]) await createFeed(node, 'packages', type)
    })
    after(async () => {
      for (const node of [spoke, hub]) await node[Symbol.asyncDispose]()
    })

    test('push, list and install at the hub', async (t) => {
      const { bench, key } = await open(hub, t)
      await publishPackages(bench, key)
      assert.deepEqual(short(await listPackages(bench)), all)
      await installPackages(bench)
    })

    test('a run brings all of it to the spoke', async () => {
      const { token = '' } = await offerFeed(hub, 'packages')
      replication = (await linkFeed(spoke, 'packages', { url: hub.url, token })).id
      assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
      const [mine, theirs] = [await spoke.operations.showFeed('packages'), await hub.operations.showFeed('packages')]
      assert.equal(mine.digest, theirs.digest)
    })

    test('list and install at the spoke with the hub stopped', async (t) => {
      await hub.stop()
      const { bench } = await open(spoke, t)
      assert.deepEqual(short(await listPackages(bench)), all)
      await installPackages(bench)
      await hub.restart()
    })

    test('a package of more versions than a page of metadata holds is installed', async (t) => {
      const { bench, key } = await open(hub, t)
      await installFromPages(bench, async (content) => {
        const url = `${hub.url}/nuget/packages/api/v2/package`
        const answer = await fetch(url, {
          method: 'PUT',
          headers: { 'x-nuget-apikey': key },
          body: new Uint8Array(content),
        })
        assert.equal(answer.status, 201)
      })
    })

    test('delete at the hub unlists at the spoke', async (t) => {
      const { bench, key } = await open(hub, t)
      await bench.ok('delete', 'Acme.Lib', '1.10', key)
      assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
      await hub.stop()
      const there = await open(spoke, t)
      assert.deepEqual(
        short(await listPackages(there.bench)),
        all.filter((line) => line !== 'Acme.Lib 1.10'),
      )
    })
  })
}
