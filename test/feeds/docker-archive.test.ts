/** `feedmesh publish FEED image.tar`. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { dockerFeedType } from '../../protocols/feeds/docker/feed-type.ts'
import { parseImageName } from '../../protocols/feeds/docker/image-name.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { missing, openWorkbench } from '../clients/docker/drivers.ts'
import { makeLayout } from '../clients/docker/scenario.ts'
import { nativeFile } from '../conformance/feed-type.ts'
import { contentOf, layoutMembers, type MadeImage, makeImage, makeIndex, makeTar } from '../support/oci-image.ts'
import { openRegistryBench } from '../support/registry-bench.ts'

const REF = 'org.opencontainers.image.ref.name'

async function units(feed: Feed): Promise<string[]> {
  return (await Array.fromAsync(feed.list({ limit: 100 }))).map(({ unit }) => unit)
}

function publish(feed: Feed, tar: Buffer, name = 'app.tar') {
  return dockerFeedType.publishFile(feed, nativeFile(name, tar))
}

function membersOf(image: MadeImage, annotations: object = { [REF]: 'team/app:v1' }) {
  return layoutMembers([...image.blobs, image], [{ image, annotations }])
}

test('an image of an archive is served as it was in it, whatever the order of its members', async (t) => {
  const { feed, call } = await openRegistryBench(t)
  const image = makeImage({ layers: [randomBytes(300_000), Buffer.alloc(0), randomBytes(10)] })
  const members = membersOf(image)
  for (const [at, ordered] of [members, members.toReversed()].entries()) {
    const renamed = ordered.map(([name, content]) => [`${at === 0 ? '' : './'}${name}`, content] as const)
    assert.deepEqual(await publish(feed, await makeTar(renamed)), { unit: 'team/app', key: 't/v1' })
  }
  assert.deepEqual((await call('GET', 'team/app/manifests/v1')).rawPayload, image.bytes)
  for (const { digest, bytes } of image.blobs)
    assert.deepEqual((await call('GET', `team/app/blobs/${digest}`)).rawPayload, bytes)
})

test('an index brings its manifests, and several images may be in one archive', async (t) => {
  const { feed, call } = await openRegistryBench(t)
  const [one, two, sha512] = [makeImage(), makeImage(), makeImage({ algorithm: 'sha512' })]
  const index = makeIndex([one, two])
  const contents = [index, one, two, sha512, ...one.blobs, ...two.blobs, ...sha512.blobs]
  const named = [
    { image: index, annotations: { 'io.containerd.image.name': 'docker.io/team/multi:v2', [REF]: 'v2' } },
    { image: one, annotations: { [REF]: 'registry.test:5000/other/app:v3' } },
    { image: sha512, annotations: {} },
  ]
  const { unit, key } = await publish(feed, await makeTar(layoutMembers(contents, named)), 'Tools.oci.tar')
  assert.equal(dockerFeedType.itemName(unit, key), 'team/multi:v2')
  assert.deepEqual(await units(feed), ['other/app', 'team/multi', 'tools'])
  assert.deepEqual((await call('GET', 'team/multi/manifests/v2')).rawPayload, index.bytes)
  for (const { digest } of [one, two])
    assert.equal((await call('GET', `team/multi/manifests/${digest}`)).statusCode, 200)
  assert.equal((await call('GET', `tools/manifests/${sha512.digest}`)).statusCode, 200)
})

test('what is no image archive is refused, and nothing is stored', async (t) => {
  const { feed } = await openRegistryBench(t)
  const image = makeImage()
  const members = membersOf(image)
  const [blob] = image.blobs
  const without = (name: RegExp) => members.filter(([member]) => !name.test(member))
  const whole = await makeTar(members)
  const refusals: readonly (readonly [what: string, tar: Buffer])[] = [
    ['not an archive', randomBytes(5000)],
    ['nothing', Buffer.alloc(0)],
    ['cut off', whole.subarray(0, whole.length - 1500)],
    ['no index', await makeTar(without(/index\.json/))],
    ['an index that is no JSON', await makeTar([...without(/index\.json/), ['index.json', '{']])],
    ['an index without manifests', await makeTar([...without(/index\.json/), ['index.json', '{"manifests":{}}']])],
    ['an index of nothing', await makeTar([...without(/index\.json/), ['index.json', '{"manifests":[]}']])],
    ['an entry without digest', await makeTar([...without(/index\.json/), ['index.json', '{"manifests":[{}]}']])],
    ['a layer is missing', await makeTar(without(new RegExp(blob?.digest.slice(7) ?? '')))],
    ['the manifest is missing', await makeTar(without(new RegExp(image.digest.slice(7))))],
    ['other bytes than the name says', await makeTar([[`blobs/sha256/${'0'.repeat(64)}`, 'x'], ...members])],
    ['a member that leads out', await makeTar([['../../etc/passwd', 'x'], ...members])],
    ['an absolute member', await makeTar([['/etc/passwd', 'x'], ...members])],
    ['a name that is none', await makeTar(membersOf(image, { [REF]: 'Team/App:v1' }))],
    ['a tag that is none', await makeTar(membersOf(image, { [REF]: 'team/app:-' }))],
    ['a manifest that is none', await makeTar(membersOf({ ...makeIndex([]), ...contentOf('{"schemaVersion":1}') }))],
    ['too many members', await makeTar(Array.from({ length: 20_001 }, (_, at) => [`f${at}`, ''] as const))],
  ]
  for (const [what, tar] of refusals) {
    await assert.rejects(publish(feed, tar), (error) => isFeedmeshError(error, 'BAD_PACKAGE', 'BAD_INPUT'), what)
    assert.deepEqual(await units(feed), [], what)
  }
})

test('a docker-archive is told what to do', async (t) => {
  const { feed } = await openRegistryBench(t)
  const tar = await makeTar([
    ['manifest.json', '[]'],
    ['repositories', '{}'],
  ])
  await assert.rejects(publish(feed, tar), /skopeo copy docker-archive:FILE oci-archive:/)
})

test('an archive without a name is called as its file', () => {
  for (const [annotations, file, expected] of [
    [{}, 'tools.tar', 'tools:latest'],
    [{ [REF]: 'v1' }, 'My-Tools.oci.tar', 'my-tools:v1'],
    [{ [REF]: 'a/b:v1' }, 'x.tar', 'a/b:v1'],
    [{ [REF]: 'localhost/a:v1' }, 'x.tar', 'a:v1'],
    [{ [REF]: 'quay.test/a/b' }, 'x.tar', 'a/b:latest'],
    [{ 'io.containerd.image.name': 'docker.io/library/alpine:3', [REF]: '3' }, 'x.tar', 'library/alpine:3'],
  ] as const) {
    const { repository, tag } = parseImageName(annotations, file)
    assert.equal(`${repository}:${tag}`, expected)
  }
})

test('archives of skopeo and buildah', { skip: missing('skopeo', 'umoci', 'buildah') }, async (t) => {
  const { feed, call } = await openRegistryBench(t)
  const bench = await openWorkbench({ host: 'none.invalid', feed: 'main', t })
  await makeLayout(bench, 'tools', ['v1'])
  await bench.ok('skopeo', 'copy', 'oci:tools:v1', 'oci-archive:tools.tar:team/tools:v1')
  await writeFile(join(bench.folder, 'hello'), 'hello\n')
  const container = (await bench.ok('buildah', 'from', 'scratch')).trim()
  await bench.ok('buildah', 'copy', container, join(bench.folder, 'hello'), '/hello')
  await bench.ok('buildah', 'commit', container, 'built')
  await bench.ok('buildah', 'push', 'built', 'oci-archive:built.tar:v2')
  for (const [file, unit, tag] of [
    ['tools.tar', 'team/tools', 'v1'],
    ['built.tar', 'built', 'v2'],
  ] as const) {
    const published = await publish(feed, await readFile(join(bench.folder, file)), file)
    assert.deepEqual(published, { unit, key: `t/${tag}` })
    assert.equal((await call('GET', `${unit}/manifests/${tag}`)).statusCode, 200)
  }
})
