/** Step 10 of the acceptance story: every mistake has an error of its own that names cause and cure, on the ends that can see it. */

import assert from 'node:assert/strict'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type ErrorCode, isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { openNode } from '../../src/node.ts'
import { auditDataFolder } from '../support/audit-data.ts'
import {
  ACTOR,
  createFeed,
  createKey,
  linkFeed,
  offerFeed,
  openTestNode,
  publishRow,
  startNode,
  type TestNode,
} from '../support/running-node.ts'

async function rejectsWith(work: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isFeedmeshError(error, code), `${code} expected, got ${String(error)}`)
    assert.match(error.message, message)
    return true
  })
}

describe('linking', () => {
  let hub: TestNode
  let spoke: TestNode

  before(async () => {
    hub = await startNode()
    spoke = await startNode()
    for (const node of [hub, spoke]) {
      await createFeed(node, 'packages')
      await createFeed(node, 'files', 'assets')
    }
    await publishRow(hub, 'packages', { unit: 'left', version: '1.0.0', content: Buffer.from('left') })
  })

  after(async () => {
    await spoke[Symbol.asyncDispose]()
    await hub[Symbol.asyncDispose]()
  })

  const nothingStored = async () => {
    assert.deepEqual(await spoke.operations.listReplications(), [])
    assert.equal((await spoke.operations.showFeed('packages')).sources.length, 0)
  }

  const refusedAtHub = async (message: RegExp) => {
    const refusals = (await hub.operations.doctor()).filter((problem) => problem.code === 'LINK_REFUSED')
    assert.ok(
      refusals.some((problem) => message.test(problem.message) && problem.cure.length > 0),
      `the hub shows: ${JSON.stringify(refusals)}`,
    )
  }

  test('a mistyped token', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    const at = token.length - 20
    const mistyped = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`
    await rejectsWith(linkFeed(spoke, 'packages', { url: hub.url, token: mistyped }), 'TOKEN_MISTYPED', /copy it again/)
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token: token.slice(0, -3) }),
      'TOKEN_MISTYPED',
      /copy it again/,
    )
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token: 'hello' }),
      'TOKEN_MISTYPED',
      /must start with/,
    )
    await nothingStored()
  })

  test('a token with blanks and line breaks around it is taken', async () => {
    const { token = '', id } = await offerFeed(hub, 'packages')
    const linked = await linkFeed(spoke, 'packages', {
      url: ` ${hub.url} `,
      token: `  ${token.slice(0, 30)}\n${token.slice(30)}\t`,
    })
    await spoke.operations.removeReplication(linked.id, ACTOR)
    await hub.operations.removeReplication(id, ACTOR)
  })

  test('a token that the hub has forgotten, on both ends', async () => {
    const { token = '', id } = await offerFeed(hub, 'packages')
    await hub.operations.removeReplication(id, ACTOR)
    await rejectsWith(linkFeed(spoke, 'packages', { url: hub.url, token }), 'TOKEN_UNKNOWN', /--incoming --token new/)
    await refusedAtHub(/TOKEN_UNKNOWN/)
  })

  test('an expired token, a used-up one, a revoked one', async () => {
    const expired = await offerFeed(hub, 'packages', { tokenExpiresInMs: 0 })
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token: expired.token ?? '' }),
      'TOKEN_EXPIRED',
      /ask the other end for a new one/,
    )
    await refusedAtHub(/TOKEN_EXPIRED/)
    const used = await offerFeed(hub, 'packages', { tokenUses: 0 })
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token: used.token ?? '' }),
      'TOKEN_USED_UP',
      /as often as it may be/,
    )
    const revoked = await offerFeed(hub, 'packages')
    const row = (await hub.operations.listTokens()).find((token) => token.replication === revoked.id)
    await hub.operations.revokeToken(row?.id ?? '', ACTOR)
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token: revoked.token ?? '' }),
      'TOKEN_REVOKED',
      /revoked/,
    )
    await refusedAtHub(/TOKEN_REVOKED/)
    await nothingStored()
  })

  test('a token for another hub', async () => {
    await using other = await startNode()
    const { token = '' } = await offerFeed(hub, 'packages')
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: other.url, token }),
      'WRONG_HUB',
      /belongs to node 12D3Koo.* answers at this URL/,
    )
    await nothingStored()
  })

  test('a wrong URL: nobody there, something else there, no URL at all', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: 'http://127.0.0.1:9', token }),
      'PEER_UNREACHABLE',
      /check the base URL/,
    )
    const server = createServer((_, response) => response.end('<html>hello</html>')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: `http://127.0.0.1:${port}`, token }),
      'NOT_A_NODE',
      /not a Feedmesh node/,
    )
    server.close()
    await rejectsWith(linkFeed(spoke, 'packages', { url: 'hub.example.net', token }), 'BAD_INPUT', /https:\/\//)
    await nothingStored()
  })

  test('an unknown feed at either end', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    await rejectsWith(linkFeed(spoke, 'nowhere', { url: hub.url, token }), 'NOT_FOUND', /no feed named "nowhere"/)
    const wanted = { feeds: [{ local: 'packages', remote: 'nowhere' }], url: hub.url, token }
    await rejectsWith(linkFeed(spoke, 'packages', wanted), 'NOT_FOUND', /no feed nowhere .* opens packages/)
    await nothingStored()
  })

  test('feeds of two types, on both ends', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    await rejectsWith(
      linkFeed(spoke, 'files', { url: hub.url, token }),
      'TYPE_MISMATCH',
      /type npm.*type assets.*--type npm/,
    )
    await refusedAtHub(/TYPE_MISMATCH/)
    await nothingStored()
  })

  test('modes that do not complement each other, on both ends', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token, mode: 'push' }),
      'MODE_MISMATCH',
      /--mode pull/,
    )
    await rejectsWith(
      linkFeed(spoke, 'packages', { url: hub.url, token, mode: 'mirror' }),
      'MODE_MISMATCH',
      /--mode pull/,
    )
    await refusedAtHub(/MODE_MISMATCH/)
    await nothingStored()
  })

  test('a link that is revoked afterwards: the run fails on the spoke and says what to do', async () => {
    const { token = '' } = await offerFeed(hub, 'packages')
    const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    await hub.operations.revokePeer(spoke.running.peerId, ACTOR)
    await publishRow(hub, 'packages', { unit: 'secret', version: '1.0.0', content: Buffer.from('after') })
    const result = await spoke.operations.runReplication(id, {})
    assert.equal(result.state, 'failed')
    assert.equal(result.failed[0]?.code, 'TOKEN_REVOKED')
    assert.equal(await spoke.operations.openFeed('packages').findUnit('secret'), undefined)
    const problem = (await spoke.operations.doctor()).find((one) => one.code === 'LINK_REVOKED')
    assert.match(problem?.cure ?? '', /ask the other end for a new token/)
    const next = await offerFeed(hub, 'packages')
    await spoke.operations.editReplication(id, { token: next.token ?? '' }, ACTOR)
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    assert.ok(await spoke.operations.openFeed('packages').findUnit('secret'))
    await spoke.operations.removeReplication(id, ACTOR)
  })

  test('the same token from the same peer is the same link, counted once', async () => {
    const { token = '', id: offered } = await offerFeed(hub, 'files', { tokenUses: 1 })
    const first = await linkFeed(spoke, 'files', { url: hub.url, token })
    await spoke.operations.removeReplication(first.id, ACTOR)
    const again = await linkFeed(spoke, 'files', { url: hub.url, token })
    assert.equal((await hub.operations.showReplication(offered)).links.length, 1)
    await spoke.operations.removeReplication(again.id, ACTOR)
  })
})

describe('one identity', () => {
  test('a second process on one data folder is refused with the folder and the cure', async () => {
    await using node = await startNode()
    const second = openNode({ directory: node.directory, overrides: {}, log: createLog('silent') })
    await rejectsWith(second, 'DATA_IN_USE', /another process/i)
  })

  test('two live nodes over a copied data folder are told on all sides, and get nothing more', async (t) => {
    await using hub = await startNode()
    await using spoke = await startNode()
    await createFeed(hub, 'packages')
    await createFeed(spoke, 'packages')
    const { token = '' } = await offerFeed(hub, 'packages')
    const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    await spoke.stop()
    const copy = await mkdtemp(join(tmpdir(), 'feedmesh-clone-'))
    t.after(() => rm(copy, { recursive: true, force: true }))
    await cp(spoke.directory, copy, { recursive: true })
    await spoke.restart()
    await using clone = await openTestNode(copy, spoke.adminKey)
    const failed: string[] = []
    for (let turn = 0; turn < 6 && failed.length === 0; turn += 1) {
      for (const node of [spoke, clone]) {
        const result = await node.operations.runReplication(id, {})
        failed.push(...result.failed.map((failure) => failure.code))
      }
    }
    assert.ok(failed.includes('IDENTITY_DUPLICATED'), `failures: ${failed.join(', ')}`)
    assert.ok(
      (await hub.operations.doctor()).some(
        (problem) => problem.code === 'IDENTITY_DUPLICATED' && problem.subject === spoke.running.peerId,
      ),
    )
    const own = await Promise.all([spoke, clone].map((node) => node.operations.doctor()))
    assert.ok(own.flat().some((problem) => problem.code === 'IDENTITY_DUPLICATED'))
  })
})

describe('publishing', () => {
  test('to a spoke’s feed over what the hub holds is refused, and nothing is stored', async () => {
    await using hub = await startNode()
    await using spoke = await startNode()
    await createFeed(hub, 'packages')
    await createFeed(spoke, 'packages')
    await publishRow(hub, 'packages', { unit: 'left', version: '1.0.0', content: Buffer.from('of the hub') })
    const { token = '' } = await offerFeed(hub, 'packages')
    const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
    await spoke.operations.runReplication(id, {})
    const publish = publishRow(spoke, 'packages', {
      unit: 'left',
      version: '1.0.0',
      content: Buffer.from('of the spoke'),
    })
    await rejectsWith(publish, 'EXISTS', /exists already/)
    await publishRow(spoke, 'packages', { unit: 'left', version: '1.0.1', content: Buffer.from('of the spoke') })
    assert.equal((await spoke.operations.showFeed('packages')).entries, 2)
    assert.equal((await hub.operations.showFeed('packages')).entries, 1)
    await spoke.stop()
    await auditDataFolder(spoke.directory)
  })

  test('with a key of another feed, without one, with a wrong one', async () => {
    await using node = await startNode()
    await createFeed(node, 'packages')
    await createFeed(node, 'other')
    const put = (key: string | undefined) =>
      fetch(`${node.url}/npm/packages/left`, {
        method: 'PUT',
        body: '{}',
        headers: {
          'content-type': 'application/json',
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        },
      })
    assert.equal((await put(undefined)).status, 401)
    assert.equal((await put('fmk_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA')).status, 401)
    assert.equal((await put(await createKey(node, 'other'))).status, 403)
  })
})
