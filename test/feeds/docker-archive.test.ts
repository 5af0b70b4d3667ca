/** `feedmesh publish FEED image.tar`. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
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

/** Members of Docker's older form: `podman save` writes layers as HEX.tar, older dockers as ID/layer.tar, crane packed. */
function dockerMembers(
  layers: readonly Buffer[],
  { tags = ['team/old:v1'], name = (at: number) => `${at}/layer.tar`, fields = {} }: DockerOptions = {},
): [string, Buffer | string][] {
  const ids = layers.map((layer) => contentOf(layer[0] === 0x1f ? gunzipSync(layer) : layer).digest)
  const config = contentOf(
    JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: ids } }),
  )
  const configName = `${config.digest.slice(7)}.json`
  const entry = { Config: configName, RepoTags: tags, Layers: layers.map((_, at) => name(at)), ...fields }
  return [
    ...layers.map((layer, at): [string, Buffer] => [name(at), layer]),
    [configName, config.bytes],
    ['manifest.json', JSON.stringify([entry])],
    ['repositories', '{}'],
  ]
}

interface DockerOptions {
  readonly tags?: readonly string[] | null
  readonly name?: (at: number) => string
  readonly fields?: object
}

interface ReadManifest {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly mediaType: string; readonly digest: string; readonly size: number }[]
}

test('a docker-archive becomes an image with a manifest that is the same wherever it is published', async (t) => {
  const [one, two] = [await openRegistryBench(t), await openRegistryBench(t)]
  const layers = [randomBytes(90_000), Buffer.alloc(0), gzipSync(randomBytes(2000))]
  const members = dockerMembers(layers, { tags: ['team/old:v1', 'registry.test:5000/other:v2'] })
  const digests: unknown[] = []
  for (const [at, { feed, call }] of [one, two].entries()) {
    const tar = await makeTar(at === 0 ? members : members.toReversed())
    assert.deepEqual(await publish(feed, tar), { unit: 'team/old', key: 't/v1' })
    for (const [unit, tag] of [
      ['team/old', 'v1'],
      ['other', 'v2'],
    ] as const) {
      const answer = await call('GET', `${unit}/manifests/${tag}`)
      const manifest = answer.json() as ReadManifest
      for (const [place, { digest, size, mediaType }] of manifest.layers.entries()) {
        assert.equal(size, layers[place]?.length)
        assert.match(mediaType, place === 2 ? /\.tar\+gzip$/ : /\.tar$/)
        assert.deepEqual((await call('GET', `${unit}/blobs/${digest}`)).rawPayload, layers[place])
      }
      const config = await call('GET', `${unit}/blobs/${manifest.config.digest}`)
      assert.equal(config.json().os, 'linux')
      digests.push(answer.headers['docker-content-digest'])
    }
  }
  assert.equal(new Set(digests).size, 1)
})

test('layers of a docker-archive may be links, and its name may be that of the file', async (t) => {
  const { feed, call } = await openRegistryBench(t)
  const shared = randomBytes(500)
  const members = dockerMembers([shared, shared], { tags: null, name: (at) => (at === 0 ? 'a.tar' : 'id/layer.tar') })
  const tar = await makeTar(
    members.filter(([name]) => name !== 'id/layer.tar'),
    [['id/layer.tar', '../a.tar']],
  )
  assert.deepEqual(await publish(feed, tar, 'Old-Tools.tar'), { unit: 'old-tools', key: 't/latest' })
  const { layers } = (await call('GET', 'old-tools/manifests/latest')).json() as ReadManifest
  assert.deepEqual(
    layers.map(({ digest }) => digest),
    [contentOf(shared).digest, contentOf(shared).digest],
  )
})

test('a docker-archive that is not what it says is refused, and nothing is stored', async (t) => {
  const { feed } = await openRegistryBench(t)
  const layer = randomBytes(300)
  const members = dockerMembers([layer])
  const replaced = (name: RegExp, content: string) =>
    members.map(([member, old]): [string, Buffer | string] => [member, name.test(member) ? content : old])
  const listing = (fields: object) => dockerMembers([layer], { fields })
  const refusals: readonly (readonly [string, readonly (readonly [string, Buffer | string])[]])[] = [
    ['a list of nothing', replaced(/^manifest/, '[]')],
    ['a list that is none', replaced(/^manifest/, '{}')],
    ['a list that is no JSON', replaced(/^manifest/, '[')],
    ['an entry that is none', replaced(/^manifest/, '[7]')],
    ['an entry without layers', replaced(/^manifest/, '[{"Config":"a.json"}]')],
    ['a layer with other bytes', replaced(/layer\.tar$/, 'other')],
    ['a configuration that is no JSON', replaced(/^[0-9a-f]{64}\.json$/, '{')],
    ['a configuration of other layers', replaced(/^[0-9a-f]{64}\.json$/, '{"rootfs":{"diff_ids":[]}}')],
    ['a layer that is not there', listing({ Layers: ['9/layer.tar'] })],
    ['a layer outside', listing({ Layers: ['../../etc/passwd'] })],
    ['a configuration that is not there', listing({ Config: 'other.json' })],
    ['a name that is none', listing({ RepoTags: ['Team/../x:v1'] })],
    ['too many images', replaced(/^manifest/, JSON.stringify(Array.from({ length: 300 }, () => ({}))))],
  ]
  for (const [what, changed] of refusals) {
    const tar = await makeTar(changed)
    await assert.rejects(publish(feed, tar), (error) => isFeedmeshError(error, 'BAD_PACKAGE', 'BAD_INPUT'), what)
    assert.deepEqual(await units(feed), [], what)
  }
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
  await bench.ok('skopeo', 'copy', 'oci:tools:v1', 'docker-archive:old.tar:team/old:v3')
  await bench.ok('buildah', 'push', 'built', 'docker-archive:old-built.tar:other/built:v4')
  for (const [file, unit, tag] of [
    ['tools.tar', 'team/tools', 'v1'],
    ['built.tar', 'built', 'v2'],
    ['old.tar', 'team/old', 'v3'],
    ['old-built.tar', 'other/built', 'v4'],
  ] as const) {
    const published = await publish(feed, await readFile(join(bench.folder, file)), file)
    assert.deepEqual(published, { unit, key: `t/${tag}` })
    assert.equal((await call('GET', `${unit}/manifests/${tag}`)).statusCode, 200)
  }
})
