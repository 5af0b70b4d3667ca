/** An rpm feed with dnf, zypper and curl: on the hub, on a spoke while the hub is stopped, and with everything that must fail. */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import {
  type BuildOptions,
  buildRpm,
  createPackageSigner,
  getProgram,
  listInstalled,
  missingPrograms,
  openDnf,
  openZypper,
  type RpmTarget,
  readKeys,
} from '../clients/rpm/drivers.ts'
import { createFolder, runOk } from '../clients/run-client.ts'
import { createRpm } from '../feeds/rpm-package.ts'
import { ACTOR, createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

async function targetOf(node: TestNode, feed: string, t: TestContext): Promise<RpmTarget> {
  return { url: `${node.url}/rpm/${feed}`, key: await createKey(node, feed), t }
}

async function upload({ url, key, t }: RpmTarget, file: string): Promise<void> {
  const folder = await createFolder(t)
  const options = { cwd: folder, env: { HOME: folder } }
  await runOk(getProgram('curl'), ['-fsST', file, '-u', `api:${key}`, `${url}/packages/`], options)
}

/** The feed as somebody between it and a client would like it to be. */
async function openMeddler(target: RpmTarget, meddle: (path: string, body: Buffer) => Buffer): Promise<RpmTarget> {
  const server = createServer((request, response) => {
    void (async () => {
      const { origin } = new URL(target.url)
      const answer = await fetch(`${origin}${request.url}`, { headers: { 'x-apikey': target.key } })
      const body = meddle(request.url ?? '', Buffer.from(await answer.arrayBuffer()))
      response.writeHead(answer.status, { 'content-length': body.length })
      response.end(body)
    })()
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  target.t.after(() => void server.close())
  const url = new URL(target.url)
  url.port = String((server.address() as AddressInfo).port)
  return { ...target, url: url.href }
}

function flip(body: Buffer, at: number): Buffer {
  const damaged = Buffer.from(body)
  damaged[at] = (damaged[at] ?? 0) ^ 1
  return damaged
}

/** One of each packing; `tool` in two versions, the newer of which needs `docs`. */
const BUILT: readonly BuildOptions[] = [
  { name: 'tool', version: '1.0', payload: 'w9.gzdio' },
  { name: 'tool', version: '1.1', payload: 'w6.xzdio', tags: ['Requires: docs >= 1.0'] },
  { name: 'docs', payload: 'w3.zstdio' },
]

const BROKEN =
  /[Bb]ad (?:PGP )?signature|BAD|[Ss]ignature verification failed|repomd.xml GPG signature verification error/

describe('an rpm feed', { skip: missingPrograms('rpmbuild', 'rpm', 'curl'), timeout: 240_000 }, () => {
  let hub: TestNode
  let spoke: TestNode
  let builder = ''
  const files: string[] = []

  before(async () => {
    hub = await startNode()
    spoke = await startNode()
    builder = await mkdtemp(join(tmpdir(), 'feedmesh-rpm-'))
    for (const [at, options] of BUILT.entries()) files.push(await buildRpm(join(builder, String(at)), options))
    await createFeed(hub, 'os', 'rpm')
  })

  after(async () => {
    for (const node of [spoke, hub]) await node[Symbol.asyncDispose]()
    await rm(builder, { recursive: true, force: true })
  })

  test('dnf takes an empty feed as it is', { skip: missingPrograms('dnf') }, async (t) => {
    const dnf = await openDnf(await targetOf(hub, 'os', t))
    assert.match(await dnf.ok('makecache'), /Metadata cache created/)
  })

  test('zypper takes an empty feed as it is', { skip: missingPrograms('zypper') }, async (t) => {
    const zypper = await openZypper(await targetOf(hub, 'os', t))
    assert.match(await zypper.ok('refresh'), /have been refreshed/)
  })

  test('curl publishes packages packed with gzip, xz and zstd', async (t) => {
    const target = await targetOf(hub, 'os', t)
    for (const file of files) await upload(target, file)
    assert.equal((await hub.operations.showFeed('os')).entries, BUILT.length)
  })

  async function useWithDnf(target: RpmTarget): Promise<void> {
    const dnf = await openDnf(target)
    assert.match(await dnf.ok('makecache'), /Metadata cache created/)
    await dnf.ok('install', 'tool-1.0')
    assert.deepEqual(await listInstalled(dnf), ['tool-1.0-1'])
    await dnf.ok('upgrade')
    assert.deepEqual(await listInstalled(dnf), ['docs-1.0-1', 'tool-1.1-1'])
    assert.equal(await readFile(join(dnf.root, 'usr/share/tool/about'), 'utf8'), 'tool 1.1\n')
    assert.match(await dnf.ok('repoquery', '--whatprovides', '/usr/share/docs/about'), /^docs-0:1\.0-1\.noarch$/m)
    assert.match(await dnf.ok('repoquery', '--list', 'docs'), /^\/usr\/share\/docs\/about$/m)
  }

  async function useWithZypper(target: RpmTarget): Promise<void> {
    const zypper = await openZypper(target)
    assert.match(await zypper.ok('refresh'), /have been refreshed/)
    await zypper.ok('install', '-y', 'tool=1.0')
    assert.deepEqual(await listInstalled(zypper), ['tool-1.0-1'])
    await zypper.ok('update', '-y')
    assert.deepEqual(await listInstalled(zypper), ['docs-1.0-1', 'tool-1.1-1'])
    assert.match(await zypper.ok('search', '--details', 'tool'), /tool .*\| 1\.1-1/)
  }

  test('dnf installs and upgrades', { skip: missingPrograms('dnf') }, async (t) =>
    useWithDnf(await targetOf(hub, 'os', t)),
  )

  test('zypper installs and updates', { skip: missingPrograms('zypper') }, async (t) =>
    useWithZypper(await targetOf(hub, 'os', t)),
  )

  test('dnf refuses a foreign key, a changed index, a changed list and a changed package', {
    skip: missingPrograms('dnf'),
  }, async (t) => {
    const target = await targetOf(hub, 'os', t)
    await createFeed(hub, 'other', 'rpm')
    const foreign = await readKeys(await targetOf(hub, 'other', t))
    const refused = async (client: RpmTarget, why: RegExp, keys?: string, ...args: string[]) => {
      const dnf = await openDnf(client, keys === undefined ? {} : { keys })
      const { exitCode, stdout, stderr } = await dnf.run(...(args.length > 0 ? args : ['makecache']))
      assert.notEqual(exitCode, 0)
      assert.match(stdout + stderr, why)
      assert.equal(existsSync(join(dnf.root, 'usr/share/docs')), false)
    }
    await refused(target, BROKEN, foreign)
    const index = await openMeddler(target, (path, body) => (path.endsWith('/repomd.xml') ? flip(body, 120) : body))
    await refused(index, BROKEN)
    const list = await openMeddler(target, (path, body) =>
      path.endsWith('.xml.gz') ? flip(body, body.length - 3) : body,
    )
    await refused(list, /[Cc]hecksum|Cannot download/)
    const pack = await openMeddler(target, (path, body) =>
      path.endsWith('.rpm') ? flip(body, body.length - 20) : body,
    )
    await refused(pack, /[Cc]hecksum|Error/, undefined, 'install', 'docs')
  })

  test('zypper refuses a foreign key and a changed index', { skip: missingPrograms('zypper') }, async (t) => {
    const target = await targetOf(hub, 'os', t)
    await createFeed(hub, 'another', 'rpm')
    const foreign = await readKeys(await targetOf(hub, 'another', t))
    const index = await openMeddler(target, (path, body) => (path.endsWith('/repomd.xml') ? flip(body, 120) : body))
    for (const [client, why] of [
      [
        await openZypper(target, { keys: foreign }),
        /New repository or package signing key received[^]*Signature verification failed/,
      ],
      [await openZypper(index), /Signature verification failed/i],
    ] as const) {
      const { exitCode, stdout, stderr } = await client.run('refresh')
      assert.notEqual(exitCode, 0)
      assert.match(stdout + stderr, why)
    }
  })

  test('dnf takes a publisher’s signed package and refuses an unsigned one where packages must be signed', {
    skip: missingPrograms('dnf', 'rpmsign', 'gpg', 'gpgconf'),
  }, async (t) => {
    const signer = await createPackageSigner(t)
    await createFeed(hub, 'signed', 'rpm')
    const target = await targetOf(hub, 'signed', t)
    const folder = await createFolder(t)
    const signed = await buildRpm(join(folder, 'a'), { name: 'signed' })
    await signer.sign(signed)
    await upload(target, signed)
    await upload(target, await buildRpm(join(folder, 'b'), { name: 'unsigned' }))
    const dnf = await openDnf(target, { gpgcheck: true, keys: `${await readKeys(target)}${signer.publicKey}` })
    await dnf.ok('install', 'signed')
    const { exitCode, stdout, stderr } = await dnf.run('install', 'unsigned')
    assert.notEqual(exitCode, 0)
    assert.match(stdout + stderr, /Package unsigned-1\.0-1\.noarch\.rpm is not signed/)
    assert.deepEqual(await listInstalled(dnf), ['signed-1.0-1'])
  })

  test('a feed that refuses unsigned packages says so to curl, and takes what rpmsign has signed', {
    skip: missingPrograms('dnf', 'rpmsign', 'gpg', 'gpgconf'),
  }, async (t) => {
    const signer = await createPackageSigner(t)
    await hub.operations.createFeed({ name: 'strict', type: 'rpm', publicRead: false, unsigned: 'refuse' }, ACTOR)
    const target = await targetOf(hub, 'strict', t)
    const file = await buildRpm(join(await createFolder(t), 'built'), { name: 'strict' })
    const curl = ['-sS', '-w', '%{http_code}', '-T', file, '-u', `api:${target.key}`, `${target.url}/packages/`]
    const folder = await createFolder(t)
    const options = { cwd: folder, env: { HOME: folder } }
    const refused = await runOk(getProgram('curl'), curl, options)
    assert.match(
      refused,
      /^strict-1\.0-1\.noarch\.rpm is not signed[^]*feedmesh feed edit strict --unsigned accept\n400$/,
    )
    assert.equal((await hub.operations.showFeed('strict')).entries, 0)
    await signer.sign(file)
    assert.match(await runOk(getProgram('curl'), curl, options), /201$/)
    const dnf = await openDnf(target, { gpgcheck: true, keys: `${await readKeys(target)}${signer.publicKey}` })
    await dnf.ok('install', 'strict')
    assert.deepEqual(await listInstalled(dnf), ['strict-1.0-1'])
  })

  test('a spoke takes all of it, and cannot be told from the hub', async (t) => {
    await createFeed(spoke, 'edge', 'rpm')
    const { token = '' } = await offerFeed(hub, 'os')
    const { id } = await linkFeed(spoke, 'edge', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    const [theirs, ours] = [await targetOf(hub, 'os', t), await targetOf(spoke, 'edge', t)]
    assert.equal((await spoke.operations.showFeed('edge')).digest, (await hub.operations.showFeed('os')).digest)
    const read = async ({ url, key }: RpmTarget, path: string) => {
      const answer = await fetch(`${url}/${path}`, { headers: { 'x-apikey': key } })
      assert.equal(answer.status, 200, path)
      return { body: Buffer.from(await answer.arrayBuffer()).toString('hex'), etag: answer.headers.get('etag') }
    }
    const repomd = Buffer.from((await read(theirs, 'repodata/repomd.xml')).body, 'hex').toString()
    const lists = [...repomd.matchAll(/href="([^"]+)"/g)].map(([, href = '']) => href)
    assert.equal(lists.length, 3)
    for (const path of ['repodata/repomd.xml', 'repodata/repomd.xml.asc', 'repodata/repomd.xml.key', ...lists])
      assert.deepEqual(await read(ours, path), await read(theirs, path), path)
    assert.equal((await spoke.operations.showIndex('edge')).index, 'replica')
  })

  test('a publish into the replica is refused with the command that would allow it', async (t) => {
    const { url, key } = await targetOf(spoke, 'edge', t)
    const answer = await fetch(`${url}/packages/local-1.0-1.noarch.rpm`, {
      method: 'PUT',
      body: new Uint8Array(await createRpm({ name: 'local' })),
      headers: { 'x-apikey': key },
    })
    assert.equal(answer.status, 409)
    assert.match(await answer.text(), /feedmesh feed edit edge --index own/)
  })

  test('clients work with the spoke while the hub is stopped', {
    skip: missingPrograms('dnf', 'zypper'),
  }, async (t) => {
    const keys = await readKeys(await targetOf(hub, 'os', t))
    await hub.stop()
    await useWithDnf(await targetOf(spoke, 'edge', t))
    await useWithZypper(await targetOf(spoke, 'edge', t))
    const knowing = await openDnf(await targetOf(spoke, 'edge', t), { keys })
    assert.match(await knowing.ok('makecache'), /Metadata cache created/)
    const trusting = await openZypper(await targetOf(spoke, 'edge', t), { keys })
    assert.match(await trusting.ok('refresh'), /have been refreshed/)
    await hub.restart()
  })

  test('a feed that signs its own index lists what it pulls and what it has, under its own key', {
    skip: missingPrograms('dnf'),
  }, async (t) => {
    const before = await spoke.operations.showIndex('edge')
    const now = await spoke.operations.setIndexMode('edge', 'own', ACTOR)
    assert.notDeepEqual(now.keys, before.keys)
    const target = await targetOf(spoke, 'edge', t)
    await upload(target, await buildRpm(join(await createFolder(t), 'c'), { name: 'local' }))
    const dnf = await openDnf(target)
    assert.match(await dnf.ok('repoquery'), /^local-0:1\.0-1\.noarch$/m)
    assert.match(await dnf.ok('repoquery'), /^tool-0:1\.1-1\.noarch$/m)
    const old = await openDnf(target, { keys: await readKeys(await targetOf(hub, 'os', t)) })
    assert.match((await old.run('makecache')).stderr, BROKEN)
  })
})
