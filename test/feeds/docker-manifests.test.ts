/** The checks of the distribution specification's conformance list, each by its name: manifests. */

import assert from 'node:assert/strict'
import {
  CONFIG_TYPE,
  contentOf,
  descriptorOf,
  IMAGE_TYPE,
  INDEX_TYPE,
  LAYER_TYPE,
  makeImage,
  makeIndex,
} from '../support/oci-image.ts'
import { codeOf, statusOf, testChecks, UNKNOWN_DIGEST } from '../support/registry-bench.ts'

testChecks('manifests', [
  [
    'PUT by tag: 201, Location by digest, then the same bytes by tag and digest',
    async ({ call, pushImage }) => {
      const image = makeImage()
      const answer = await pushImage('a/b', 'v1', image)
      assert.equal(answer.statusCode, 201)
      assert.equal(answer.headers.location, `/v2/main/a/b/manifests/${image.digest}`)
      assert.equal(answer.headers['docker-content-digest'], image.digest)
      for (const reference of ['v1', image.digest, encodeURIComponent(image.digest)]) {
        const read = await call('GET', `a/b/manifests/${reference}`)
        assert.deepEqual(read.rawPayload, image.bytes)
        assert.equal(read.headers['docker-content-digest'], image.digest)
        assert.equal(read.headers['content-type'], IMAGE_TYPE)
      }
      for (const { digest, bytes } of image.blobs)
        assert.deepEqual((await call('GET', `a/b/blobs/${digest}`)).rawPayload, bytes)
    },
  ],
  [
    'HEAD of a manifest: Content-Length, Docker-Content-Digest, Content-Type, byte for byte',
    async ({ call, pushImage }) => {
      const image = makeImage()
      await pushImage('a', 'v1', image)
      const { statusCode, headers, body } = await call('HEAD', 'a/manifests/v1')
      assert.deepEqual([statusCode, body], [200, ''])
      assert.equal(headers['content-length'], String(image.bytes.length))
      assert.equal(headers['docker-content-digest'], image.digest)
      assert.equal(headers['content-type'], IMAGE_TYPE)
    },
  ],
  [
    'the media type is echoed byte for byte, whatever it is',
    async ({ call }) => {
      for (const type of [
        'application/vnd.docker.distribution.manifest.list.v2+json',
        'application/vnd.example.Own+json',
      ]) {
        const bytes = JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { type } })
        assert.equal(await statusOf(call('PUT', 'a/manifests/v1', bytes, { 'content-type': type })), 201)
        assert.equal((await call('GET', 'a/manifests/v1')).headers['content-type'], type)
      }
    },
  ],
  [
    'PUT by digest; ?tag=a&tag=b sets both',
    async ({ call, pushImage }) => {
      const image = makeImage()
      const answer = await pushImage('a', `${image.digest}?tag=x&tag=y`, image)
      assert.deepEqual([answer.statusCode, answer.headers['oci-tag']], [201, ['x', 'y']])
      for (const tag of ['x', 'y']) assert.deepEqual((await call('GET', `a/manifests/${tag}`)).rawPayload, image.bytes)
      assert.equal(await statusOf(call('PUT', `a/manifests/${image.digest}?tag=-`, image.bytes)), 400)
    },
  ],
  [
    'PUT under a digest that is not that of the bytes is DIGEST_INVALID',
    async ({ call }) => {
      const answer = await call('PUT', `a/manifests/${UNKNOWN_DIGEST}`, makeIndex([]).bytes, {
        'content-type': INDEX_TYPE,
      })
      assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'DIGEST_INVALID'])
    },
  ],
  [
    'a manifest naming absent blobs is MANIFEST_BLOB_UNKNOWN, and nothing is stored',
    async ({ call, feed, pushBlob }) => {
      const image = makeImage()
      const put = () => call('PUT', 'a/manifests/v1', image.bytes, { 'content-type': IMAGE_TYPE })
      assert.equal(codeOf(await put()), 'MANIFEST_BLOB_UNKNOWN')
      for (const blob of image.blobs.slice(1)) await pushBlob('a', blob)
      for (const blob of image.blobs) await pushBlob('elsewhere', blob)
      const answer = await put()
      assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'MANIFEST_BLOB_UNKNOWN'])
      assert.equal(await feed.findUnit('a'), undefined)
    },
  ],
  [
    'an index naming absent manifests is MANIFEST_BLOB_UNKNOWN; with them it is taken',
    async ({ call, pushImage }) => {
      const [one, two] = [makeImage(), makeImage()]
      const index = makeIndex([one, two])
      await pushImage('a', one.digest, one)
      assert.equal(codeOf(await pushImage('a', 'v1', index)), 'MANIFEST_BLOB_UNKNOWN')
      await pushImage('a', two.digest, two)
      assert.equal((await pushImage('a', 'v1', index)).statusCode, 201)
      const read = await call('GET', 'a/manifests/v1')
      assert.deepEqual([read.headers['content-type'], read.body], [INDEX_TYPE, index.bytes.toString()])
    },
  ],
  [
    'non-distributable layers and unknown fields are accepted',
    async ({ call, pushBlob, pushImage }) => {
      const [away, kept] = [contentOf('layer kept elsewhere'), contentOf('layer pushed all the same')]
      const foreign = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'
      const layers = [away, kept].map((layer) => descriptorOf(foreign, layer, { urls: ['https://other.example/x'] }))
      const image = makeImage({ fields: { layers, 'org.example.unknown': { deep: [1, null] } } })
      await pushBlob('a', kept)
      assert.equal((await pushImage('a', 'v1', image)).statusCode, 201)
      assert.deepEqual((await call('GET', 'a/manifests/v1')).rawPayload, image.bytes)
      assert.equal(await statusOf(call('GET', `a/blobs/${kept.digest}`)), 200)
      assert.equal(await statusOf(call('GET', `a/blobs/${away.digest}`)), 404)
      assert.equal(await statusOf(call('DELETE', `a/blobs/${kept.digest}`)), 202)
      assert.equal(await statusOf(call('GET', `a/blobs/${kept.digest}`)), 404)
    },
  ],
  [
    'a manifest of 4 MiB is taken, one of more than 8 MiB is 413',
    async ({ call }) => {
      const sized = (size: number) => makeIndex([], { annotations: { filler: 'x'.repeat(size - 200) } }).bytes
      const put = (bytes: Buffer) => call('PUT', 'a/manifests/v1', bytes, { 'content-type': INDEX_TYPE })
      assert.equal((await put(sized(4 * 1024 ** 2 + 200))).statusCode, 201)
      const answer = await put(sized(8 * 1024 ** 2 + 400))
      assert.deepEqual([answer.statusCode, codeOf(answer)], [413, 'SIZE_INVALID'])
    },
  ],
  [
    'a manifest that names more blobs than a row holds is MANIFEST_INVALID and says how many may be',
    async ({ call, pushBlob }) => {
      const config = contentOf('{}')
      await pushBlob('a', config)
      const layers = Array.from({ length: 4095 }, (_, at) => descriptorOf(LAYER_TYPE, contentOf(String(at))))
      const image = makeImage({ fields: { config: descriptorOf(CONFIG_TYPE, config), layers } })
      const answer = await call('PUT', 'a/manifests/v1', image.bytes, { 'content-type': IMAGE_TYPE })
      assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'MANIFEST_INVALID'])
      assert.match(answer.body, /names 4096 blobs, at most 4095/)
    },
  ],
  [
    'an unknown image is NAME_UNKNOWN, an unknown tag or digest MANIFEST_UNKNOWN',
    async ({ call, pushImage }) => {
      assert.equal(codeOf(await call('GET', 'a/manifests/v1')), 'NAME_UNKNOWN')
      await pushImage('a', 'v1', makeImage())
      for (const reference of ['v2', UNKNOWN_DIGEST]) {
        const answer = await call('GET', `a/manifests/${reference}`)
        assert.deepEqual([answer.statusCode, codeOf(answer)], [404, 'MANIFEST_UNKNOWN'])
        assert.equal(await statusOf(call('HEAD', `a/manifests/${reference}`)), 404)
        assert.equal(await statusOf(call('DELETE', `a/manifests/${reference}`)), 404)
      }
    },
  ],
  [
    'DELETE of a tag leaves the manifest, DELETE of a manifest takes its tags',
    async ({ call, pushImage }) => {
      const image = makeImage()
      for (const tag of ['one', 'two', 'three']) await pushImage('a', tag, image)
      assert.equal(await statusOf(call('DELETE', 'a/manifests/one')), 202)
      assert.equal(await statusOf(call('GET', 'a/manifests/one')), 404)
      assert.equal(await statusOf(call('GET', `a/manifests/${image.digest}`)), 200)
      assert.equal(await statusOf(call('DELETE', `a/manifests/${image.digest}`)), 202)
      for (const reference of ['two', image.digest])
        assert.equal(await statusOf(call('GET', `a/manifests/${reference}`)), 404)
      assert.equal(await statusOf(call('GET', 'a/tags/list')), 404)
    },
  ],
  [
    'a tag moves; both manifests stay',
    async ({ call, pushImage }) => {
      const [old, next] = [makeImage(), makeImage()]
      for (const image of [old, next, next]) await pushImage('a', 'v1', image)
      assert.deepEqual((await call('GET', 'a/manifests/v1')).rawPayload, next.bytes)
      for (const { digest } of [old, next]) assert.equal(await statusOf(call('GET', `a/manifests/${digest}`)), 200)
    },
  ],
  [
    'a manifest pushed again and deleted in between is there again',
    async ({ call, pushImage }) => {
      const image = makeImage()
      await pushImage('a', 'v1', image)
      await call('DELETE', `a/manifests/${image.digest}`)
      assert.equal(await statusOf(call('GET', `a/blobs/${image.blobs[1]?.digest}`)), 404)
      assert.equal((await pushImage('a', 'v1', image)).statusCode, 201)
      assert.deepEqual((await call('GET', 'a/manifests/v1')).rawPayload, image.bytes)
    },
  ],
])
