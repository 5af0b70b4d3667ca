/** A debian feed with apt, dput and curl: on the hub, on a spoke while the hub is stopped, and with everything that must fail. */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import {
  type DebianTarget,
  downloadPackages,
  dput,
  missingPrograms,
  openApt,
  readKeys,
  writeChanges,
} from '../clients/debian/drivers.ts'
import { createFolder, findProgram, runOk } from '../clients/run-client.ts'
import { createDeb, type DebOptions } from '../feeds/deb-package.ts'
import { ACTOR, createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

const REAL = ['hello', 'jq', 'tree', 'sl']

async function targetOf(node: TestNode, feed: string, t: TestContext): Promise<DebianTarget> {
  return { url: `${node.url}/debian/${feed}`, key: await createKey(node, feed), t }
}

async function upload(
  { url, key, t }: DebianTarget,
  name: string,
  content: Buffer,
  place = 'stable/main',
): Promise<void> {
  const folder = await createFolder(t)
  await writeFile(join(folder, name), content)
  const curl = findProgram('curl')
  assert.ok(curl)
  await runOk(curl, ['-fsST', join(folder, name), '-u', `api:${key}`, `${url}/pool/${place}/`], {
    cwd: folder,
    env: { HOME: folder },
  })
}

async function uploadMade(target: DebianTarget, options: DebOptions): Promise<void> {
  const { name = 'tool', version = '1.0-1', architecture = 'amd64' } = options
  await upload(target, `${name}_${version}_${architecture}.deb`, await createDeb(options))
}

/** The feed as somebody between it and apt would like it to be. */
async function openMeddler(
  target: DebianTarget,
  meddle: (path: string, body: Buffer) => Buffer,
): Promise<DebianTarget> {
  const server = createServer((request, response) => {
    void (async () => {
      const { origin } = new URL(target.url)
      const headers = { 'x-apikey': target.key }
      const answer = await fetch(`${origin}${request.url}`, { headers })
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

function paragraphs(text: string): Map<string, Map<string, string>> {
  const found = new Map<string, Map<string, string>>()
  for (const paragraph of text.split('\n\n').filter((one) => one.trim() !== '')) {
    const fields = new Map<string, string>()
    for (const field of paragraph.split(/\n(?! )/)) {
      const colon = field.indexOf(':')
      fields.set(field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim())
    }
    found.set(`${fields.get('package')} ${fields.get('version')} ${fields.get('architecture')}`, fields)
  }
  return found
}

describe('a debian feed', { skip: missingPrograms('apt-get', 'dpkg', 'curl'), timeout: 240_000 }, () => {
  let hub: TestNode
  let spoke: TestNode
  let downloads = ''
  let real: ReadonlyMap<string, string> = new Map()
  let replication = ''

  before(async () => {
    hub = await startNode()
    spoke = await startNode()
    downloads = await mkdtemp(join(tmpdir(), 'feedmesh-debian-'))
    real = await downloadPackages(downloads, REAL)
    await createFeed(hub, 'os', 'debian')
  })

  after(async () => {
    for (const node of [spoke, hub]) await node[Symbol.asyncDispose]()
    await rm(downloads, { recursive: true, force: true })
  })

  test('apt takes an empty feed as it is', async (t) => {
    const apt = await openApt(await targetOf(hub, 'os', t))
    assert.doesNotMatch(await apt.ok('update'), /^[WE]:/m)
  })

  test('curl publishes packages of two architectures, for all, and in two versions', async (t) => {
    const target = await targetOf(hub, 'os', t)
    await uploadMade(target, { name: 'tool', version: '1.0-1', fields: ['Depends: docs'] })
    await uploadMade(target, { name: 'tool', version: '1.1-1', fields: ['Depends: docs'], packing: 'zst' })
    await uploadMade(target, { name: 'tool', version: '1.1-1', architecture: 'arm64', fields: ['Depends: docs'] })
    await uploadMade(target, { name: 'docs', architecture: 'all' })
    assert.equal((await hub.operations.showFeed('os')).entries, 4)
  })

  for (const name of REAL)
    test(`curl publishes Debian’s own ${name}`, async (t) => {
      const path = real.get(name)
      if (path === undefined) return t.skip(`apt-get download ${name} has no package source here`)
      await upload(await targetOf(hub, 'os', t), basename(path), await readFile(path))
    })

  test('dput uploads a package and its .changes', { skip: missingPrograms('dput') }, async (t) => {
    const target = await targetOf(hub, 'os', t)
    const folder = await createFolder(t)
    await writeFile(
      join(folder, 'sent_1.0_all.deb'),
      await createDeb({ name: 'sent', version: '1.0', architecture: 'all' }),
    )
    const { exitCode, stdout, stderr } = await dput(target, await writeChanges(folder, ['sent_1.0_all.deb']))
    assert.equal(exitCode, 0, stdout + stderr)
    const apt = await openApt(target)
    await apt.ok('update')
    assert.match(await apt.cache('show', 'sent'), /^Version: 1\.0$/m)
  })

  async function useWithApt(target: DebianTarget): Promise<void> {
    const apt = await openApt(target, { architectures: ['amd64', 'arm64'] })
    assert.doesNotMatch(await apt.ok('update'), /^[WE]:/m)
    await apt.ok('install', 'tool')
    assert.ok(existsSync(join(apt.root, 'usr/share/tool')))
    assert.match(await readFile(join(apt.root, 'var/lib/dpkg/status'), 'utf8'), /^Version: 1\.1-1$/m)
    await apt.ok('download', 'tool=1.0-1', 'tool:arm64=1.1-1')
    const files = (await readdir(apt.folder)).filter((name) => name.endsWith('.deb'))
    assert.deepEqual(files.sort(), ['tool_1.0-1_amd64.deb', 'tool_1.1-1_arm64.deb'])
    for (const [name, path] of real) {
      await apt.ok('download', name)
      assert.ok((await readFile(join(apt.folder, basename(path)))).equals(await readFile(path)), name)
    }
    const again = await apt.ok('update')
    assert.match(again, /^Hit:1 /m)
  }

  test('apt installs, pins and downloads for two architectures', async (t) => useWithApt(await targetOf(hub, 'os', t)))

  for (const type of ['gz', 'zst'])
    test(`apt reads lists packed as ${type}`, async (t) => {
      const target = await targetOf(hub, 'os', t)
      const options = [`Acquire::CompressionTypes::Order::=${type}`]
      const apt = await openApt(target, { options })
      const listed = await apt.ok('update', '--print-uris')
      assert.match(listed, /InRelease/)
      await apt.ok('update')
      assert.match(await apt.cache('show', 'docs'), /^Package: docs$/m)
    })

  test('the list says of each package what reprepro’s says', { skip: missingPrograms('reprepro') }, async (t) => {
    const target = await targetOf(hub, 'os', t)
    const folder = await createFolder(t)
    const reprepro = findProgram('reprepro')
    assert.ok(reprepro)
    const options = { cwd: folder, env: { HOME: folder } }
    await runOk({ file: '/bin/mkdir', prefix: [] }, ['-p', join(folder, 'conf')], options)
    await writeFile(
      join(folder, 'conf/distributions'),
      'Codename: stable\nArchitectures: amd64 arm64\nComponents: main\n',
    )
    const extra = ['-b', folder, '-S', 'misc', '-P', 'optional', '--ignore=forbiddenchar']
    const names: string[] = []
    for (const path of real.values()) {
      await runOk(reprepro, [...extra, 'includedeb', 'stable', path], options)
      names.push(basename(path).split('_', 1)[0] ?? '')
    }
    const made = join(folder, 'docs_1.0-1_all.deb')
    await writeFile(made, await createDeb({ name: 'docs', architecture: 'all' }))
    await runOk(reprepro, [...extra, 'includedeb', 'stable', made], options)
    const theirs = paragraphs(await readFile(join(folder, 'dists/stable/main/binary-amd64/Packages'), 'utf8'))
    const answer = await fetch(`${target.url}/dists/stable/main/binary-amd64/Packages`, {
      headers: { 'x-apikey': target.key },
    })
    const ours = paragraphs(await answer.text())
    assert.equal(theirs.size, names.length + 1)
    for (const [name, fields] of theirs) {
      const mine = new Map(ours.get(name))
      // Where the file lies is each repository's own; section and priority are given above to those that have none.
      for (const field of ['filename', 'section', 'priority']) {
        mine.delete(field)
        fields.delete(field)
      }
      const byField = ([a]: readonly [string, string], [b]: readonly [string, string]) => (a < b ? -1 : 1)
      assert.deepEqual([...mine].sort(byField), [...fields].sort(byField), name)
    }
  })

  test('apt refuses a foreign key, a changed index and a changed list', async (t) => {
    const target = await targetOf(hub, 'os', t)
    await createFeed(hub, 'other', 'debian')
    const foreign = await readKeys(await targetOf(hub, 'other', t))
    const withForeign = await (await openApt(target, { keys: foreign })).get('update')
    assert.notEqual(withForeign.exitCode, 0)
    assert.match(withForeign.stderr + withForeign.stdout, /NO_PUBKEY/)
    const changed = await openMeddler(target, (path, body) => (path.endsWith('/InRelease') ? flip(body, 80) : body))
    const withChanged = await (await openApt(changed)).get('update')
    assert.notEqual(withChanged.exitCode, 0)
    assert.match(withChanged.stderr + withChanged.stdout, /BADSIG|invalid|could not be verified/)
    const list = await openMeddler(target, (path, body) =>
      path.includes('/by-hash/') ? flip(body, body.length - 3) : body,
    )
    const withList = await (await openApt(list)).get('update')
    assert.notEqual(withList.exitCode, 0)
    assert.match(
      withList.stderr + withList.stdout,
      /Hash Sum mismatch|unexpected size|Hashes of expected file|zlib|corrupt/i,
    )
  })

  test('apt refuses a package that was changed on its way', async (t) => {
    const target = await targetOf(hub, 'os', t)
    const meddler = await openMeddler(target, (path, body) => (path.endsWith('.deb') ? flip(body, 100) : body))
    const apt = await openApt(meddler)
    await apt.ok('update')
    const { exitCode, stderr } = await apt.get('download', 'docs')
    assert.notEqual(exitCode, 0)
    assert.match(stderr, /Hash Sum mismatch|Hashes of expected file/)
  })

  test('a spoke takes all of it, and cannot be told from the hub', async (t) => {
    await createFeed(spoke, 'edge', 'debian')
    const { token = '' } = await offerFeed(hub, 'os')
    replication = (await linkFeed(spoke, 'edge', { url: hub.url, token })).id
    assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
    const [theirs, ours] = [await targetOf(hub, 'os', t), await targetOf(spoke, 'edge', t)]
    assert.equal((await spoke.operations.showFeed('edge')).digest, (await hub.operations.showFeed('os')).digest)
    assert.equal(await readKeys(ours), await readKeys(theirs))
    for (const path of [
      'InRelease',
      'Release',
      'Release.gpg',
      'main/binary-amd64/Packages.zst',
      'main/binary-arm64/Packages.gz',
    ]) {
      const read = async ({ url, key }: DebianTarget) => {
        const answer = await fetch(`${url}/dists/stable/${path}`, { headers: { 'x-apikey': key } })
        assert.equal(answer.status, 200, path)
        return { body: Buffer.from(await answer.arrayBuffer()).toString('hex'), etag: answer.headers.get('etag') }
      }
      assert.deepEqual(await read(ours), await read(theirs), path)
    }
    assert.equal((await spoke.operations.showIndex('edge')).index, 'replica')
    assert.deepEqual((await spoke.operations.showIndex('edge')).keys, (await hub.operations.showIndex('os')).keys)
  })

  test('a publish into the replica is refused with the command that would allow it', async (t) => {
    const { url, key } = await targetOf(spoke, 'edge', t)
    const body = await createDeb({ name: 'local' })
    const answer = await fetch(`${url}/pool/stable/main/local_1.0-1_amd64.deb`, {
      method: 'PUT',
      body,
      headers: { 'x-apikey': key },
    })
    assert.equal(answer.status, 409)
    assert.match(await answer.text(), /feedmesh feed edit edge --index own/)
  })

  test('apt works with the spoke while the hub is stopped', async (t) => {
    await hub.stop()
    await useWithApt(await targetOf(spoke, 'edge', t))
    await hub.restart()
  })

  test('a machine that knew the hub goes on with the spoke, and with the key it has', async (t) => {
    const keys = await readKeys(await targetOf(hub, 'os', t))
    const apt = await openApt(await targetOf(spoke, 'edge', t), { keys })
    assert.doesNotMatch(await apt.ok('update'), /^[WE]:/m)
  })

  test('a feed that signs its own index lists what it pulls and what it has, under its own key', async (t) => {
    const before = await spoke.operations.showIndex('edge')
    const now = await spoke.operations.setIndexMode('edge', 'own', ACTOR)
    assert.equal(now.index, 'own')
    assert.notDeepEqual(now.keys, before.keys)
    const target = await targetOf(spoke, 'edge', t)
    await uploadMade(target, { name: 'local', version: '1.0-1' })
    const apt = await openApt(target)
    await apt.ok('update')
    assert.match(await apt.cache('show', 'local'), /^Version: 1\.0-1$/m)
    assert.match(await apt.cache('show', 'tool'), /^Version: 1\.1-1$/m)
    const old = await openApt(target, { keys: await readKeys(await targetOf(hub, 'os', t)) })
    assert.match((await old.get('update')).stderr, /NO_PUBKEY/)
    await assert.rejects(spoke.operations.setIndexMode('edge', 'replica', ACTOR), /delete them first/)
  })
})
