/** The checks of the distribution specification's conformance list, each by its name: blobs. */

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { contentOf, IMAGE_TYPE, makeImage } from '../support/oci-image.ts'
import { codeOf, statusOf, testChecks, UNKNOWN_DIGEST } from '../support/registry-bench.ts'

const SOME = contentOf('some blob of a few bytes')

testChecks('blobs', [
  [
    'POST with digest stores a blob in one request',
    async ({ call }) => {
      const answer = await call('POST', `a/blobs/uploads/?digest=${SOME.digest}`, SOME.bytes)
      assert.equal(answer.statusCode, 201)
      assert.equal(answer.headers.location, `/v2/main/a/blobs/${SOME.digest}`)
      assert.equal(answer.headers['docker-content-digest'], SOME.digest)
      assert.deepEqual((await call('GET', answer.headers.location ?? '')).rawPayload, SOME.bytes)
    },
  ],
  [
    'POST then PUT stores a blob; the digest may be percent-coded, the Location may have a query',
    async ({ call, begin }) => {
      const url = await begin('a')
      const answer = await call('PUT', `${url}?_state=x&digest=${encodeURIComponent(SOME.digest)}`, SOME.bytes)
      assert.equal(answer.statusCode, 201)
      assert.equal(await statusOf(call('HEAD', `a/blobs/${SOME.digest}`)), 200)
      assert.equal(await statusOf(call('GET', url)), 404)
    },
  ],
  [
    'chunks in order: 202 with Range, then 201',
    async ({ call, begin }) => {
      const url = await begin('a')
      const first = await call('PATCH', url, SOME.bytes.subarray(0, 10), { 'content-range': '0-9' })
      assert.equal(first.statusCode, 202)
      assert.equal(first.headers.range, '0-9')
      assert.equal(first.headers.location, url)
      const range = `10-${SOME.bytes.length - 1}`
      assert.equal(await statusOf(call('PATCH', url, SOME.bytes.subarray(10), { 'content-range': range })), 202)
      assert.equal(await statusOf(call('PUT', `${url}?digest=${SOME.digest}`)), 201)
    },
  ],
  [
    'the last chunk may come with PUT',
    async ({ call, begin }) => {
      const url = await begin('a')
      await call('PATCH', url, SOME.bytes.subarray(0, 10), { 'content-range': '0-9' })
      const range = { 'content-range': `10-${SOME.bytes.length - 1}` }
      assert.equal(await statusOf(call('PUT', `${url}?digest=${SOME.digest}`, SOME.bytes.subarray(10), range)), 201)
      assert.deepEqual((await call('GET', `a/blobs/${SOME.digest}`)).rawPayload, SOME.bytes)
    },
  ],
  [
    'a chunk out of order is 416, and GET on the session reports the right Range',
    async ({ call, begin }) => {
      const url = await begin('a')
      assert.equal(await statusOf(call('PATCH', url, SOME.bytes.subarray(5, 10), { 'content-range': '5-9' })), 416)
      await call('PATCH', url, SOME.bytes.subarray(0, 10), { 'content-range': '0-9' })
      for (const at of ['0-9', '11-20', '9-18']) {
        const refused = await call('PATCH', url, SOME.bytes.subarray(0, 10), { 'content-range': at })
        assert.equal(refused.statusCode, 416, at)
        assert.equal(refused.headers.range, '0-9')
        assert.equal(refused.headers.location, url)
      }
      const answer = await call('GET', url)
      assert.deepEqual([answer.statusCode, answer.headers.range, answer.headers.location], [204, '0-9', url])
      assert.equal(
        await statusOf(
          call('PUT', `${url}?digest=${SOME.digest}`, SOME.bytes.subarray(5), { 'content-range': '5-23' }),
        ),
        416,
      )
    },
  ],
  [
    'a chunk whose length is not that of its range is 400',
    async ({ call, begin }) => {
      const url = await begin('a')
      for (const range of ['0-8', '0-10', '5-4', 'x', '0-', 'bytes=0-9', '0-9-'])
        assert.equal(
          await statusOf(call('PATCH', url, SOME.bytes.subarray(0, 10), { 'content-range': range })),
          400,
          range,
        )
      assert.equal((await call('GET', url)).headers.range, '0-0')
    },
  ],
  [
    'a stream without length and range is appended',
    async ({ call, begin }) => {
      const url = await begin('a')
      for (const part of [SOME.bytes.subarray(0, 7), SOME.bytes.subarray(7)])
        assert.equal(await statusOf(call('PATCH', url, Readable.from([part], { objectMode: false }))), 202)
      assert.equal(await statusOf(call('PUT', `${url}?digest=${SOME.digest}`)), 201)
    },
  ],
  [
    'a session can be cancelled: DELETE is 204, afterwards it is unknown',
    async ({ call, begin }) => {
      const url = await begin('a')
      await call('PATCH', url, SOME.bytes)
      assert.equal(await statusOf(call('DELETE', url)), 204)
      for (const method of ['GET', 'PATCH', 'DELETE'] as const) {
        const answer = await call(method, url)
        assert.equal(answer.statusCode, 404)
        assert.equal(codeOf(answer), 'BLOB_UPLOAD_UNKNOWN')
      }
      assert.equal(await statusOf(call('PUT', `${url}?digest=${SOME.digest}`)), 404)
    },
  ],
  [
    'a session belongs to its repository',
    async ({ call, begin }) => {
      const url = await begin('a')
      assert.equal(await statusOf(call('PATCH', url.replace('/a/', '/b/'), SOME.bytes)), 404)
      assert.equal(await statusOf(call('GET', url)), 204)
    },
  ],
  [
    'a wrong digest is DIGEST_INVALID, and nothing is stored',
    async ({ call, begin }) => {
      const whole = await call('POST', `a/blobs/uploads/?digest=${UNKNOWN_DIGEST}`, SOME.bytes)
      assert.deepEqual([whole.statusCode, codeOf(whole)], [400, 'DIGEST_INVALID'])
      const url = await begin('a')
      const answer = await call('PUT', `${url}?digest=${UNKNOWN_DIGEST}`, SOME.bytes)
      assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'DIGEST_INVALID'])
      assert.equal(await statusOf(call('GET', url)), 404)
      for (const digest of [UNKNOWN_DIGEST, SOME.digest])
        assert.equal(await statusOf(call('HEAD', `a/blobs/${digest}`)), 404)
    },
  ],
  [
    'an unknown algorithm is DIGEST_INVALID',
    async ({ call, begin }) => {
      const url = await begin('a')
      for (const digest of [
        `md5:${'0'.repeat(32)}`,
        'sha256:xyz',
        `sha256:${'A'.repeat(64)}`,
        '',
        `sha512:${'0'.repeat(64)}`,
      ])
        assert.equal(codeOf(await call('PUT', `${url}?digest=${digest}`, SOME.bytes)), 'DIGEST_INVALID', digest)
      assert.equal(codeOf(await call('PUT', url, SOME.bytes)), 'DIGEST_INVALID')
      assert.equal(codeOf(await call('POST', 'a/blobs/uploads/?digest-algorithm=md5')), 'DIGEST_INVALID')
      assert.equal(codeOf(await call('GET', 'a/blobs/md5:00')), 'DIGEST_INVALID')
    },
  ],
  [
    'sha512: stored and answered under sha512, alone and by session',
    async ({ call, begin }) => {
      for (const [query, content] of [
        ['', 'one'],
        ['?digest-algorithm=sha512', 'two'],
      ] as const) {
        const { bytes, digest } = contentOf(content, 'sha512')
        const answer = await call('PUT', `${await begin('a', query)}?digest=${digest}`, bytes)
        assert.equal(answer.statusCode, 201)
        assert.equal(answer.headers['docker-content-digest'], digest)
        const read = await call('GET', `a/blobs/${digest}`)
        assert.deepEqual([read.headers['docker-content-digest'], read.body], [digest, content])
        assert.equal(await statusOf(call('GET', `a/blobs/${contentOf(content).digest}`)), 404)
      }
      const image = makeImage({ algorithm: 'sha512' })
      const { blobs } = image
      for (const blob of blobs)
        assert.equal(await statusOf(call('POST', `a/blobs/uploads/?digest=${blob.digest}`, blob.bytes)), 201)
      const pushed = await call('PUT', `a/manifests/${image.digest}`, image.bytes, { 'content-type': IMAGE_TYPE })
      assert.equal(pushed.headers['docker-content-digest'], image.digest)
      assert.equal((await call('GET', `a/manifests/${image.digest}`)).headers['docker-content-digest'], image.digest)
    },
  ],
  [
    'a blob of no bytes',
    async ({ call, begin }) => {
      const none = contentOf('')
      assert.equal(await statusOf(call('PUT', `${await begin('a')}?digest=${none.digest}`)), 201)
      assert.equal(await statusOf(call('POST', `b/blobs/uploads/?digest=${none.digest}`)), 201)
      for (const name of ['a', 'b']) {
        const answer = await call('GET', `${name}/blobs/${none.digest}`)
        assert.deepEqual([answer.statusCode, answer.headers['content-length'], answer.body], [200, '0', ''])
      }
    },
  ],
  [
    'HEAD of a blob: Content-Length, Docker-Content-Digest, Content-Type, no body',
    async ({ call, pushBlob }) => {
      await pushBlob('a', SOME)
      const { statusCode, headers, body } = await call('HEAD', `a/blobs/${SOME.digest}`)
      assert.equal(statusCode, 200)
      assert.equal(headers['content-length'], String(SOME.bytes.length))
      assert.equal(headers['docker-content-digest'], SOME.digest)
      assert.equal(headers['content-type'], 'application/octet-stream')
      assert.equal(body, '')
    },
  ],
  [
    'ranges of a blob: 206, and 416 without a body for 500-0 and past the end',
    async ({ call, pushBlob }) => {
      await pushBlob('a', SOME)
      const part = await call('GET', `a/blobs/${SOME.digest}`, undefined, { range: 'bytes=3-8' })
      assert.deepEqual([part.statusCode, part.body], [206, SOME.bytes.toString().slice(3, 9)])
      assert.equal(part.headers['content-range'], `bytes 3-8/${SOME.bytes.length}`)
      for (const range of ['bytes=500-0', `bytes=${SOME.bytes.length}-`, 'bytes=900-950']) {
        const past = await call('GET', `a/blobs/${SOME.digest}`, undefined, { range })
        assert.deepEqual([past.statusCode, past.body], [416, ''], range)
        assert.equal(past.headers['content-range'], `bytes */${SOME.bytes.length}`)
      }
    },
  ],
  [
    'a blob that is not there is BLOB_UNKNOWN',
    async ({ call, pushBlob }) => {
      await pushBlob('a', SOME)
      for (const url of [`a/blobs/${UNKNOWN_DIGEST}`, `b/blobs/${SOME.digest}`]) {
        const answer = await call('GET', url)
        assert.deepEqual([answer.statusCode, codeOf(answer)], [404, 'BLOB_UNKNOWN'])
        assert.equal(await statusOf(call('HEAD', url)), 404)
      }
    },
  ],
  [
    'DELETE of a blob: 202 once, 404 then; refused while a manifest names it',
    async ({ call, pushBlob, pushImage }) => {
      await pushBlob('a', SOME)
      assert.equal(await statusOf(call('DELETE', `a/blobs/${SOME.digest}`)), 202)
      assert.equal(await statusOf(call('DELETE', `a/blobs/${SOME.digest}`)), 404)
      assert.equal(await statusOf(call('GET', `a/blobs/${SOME.digest}`)), 404)
      const image = makeImage()
      await pushImage('a', 'v1', image)
      const answer = await call('DELETE', `a/blobs/${image.blobs[1]?.digest}`)
      assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'UNSUPPORTED'])
    },
  ],
  [
    'mount: 201 from a repository that has the blob, 202 with a session else',
    async ({ call, pushBlob }) => {
      await pushBlob('lab/img', SOME)
      const url = (from: string) => `b/blobs/uploads/?mount=${SOME.digest}&from=${from}&origin=host`
      const missed = await call('POST', url('main%2Fother'))
      assert.equal(missed.statusCode, 202)
      assert.equal(await statusOf(call('GET', String(missed.headers.location))), 204)
      const answer = await call('POST', url('main%2Flab%2Fimg'))
      assert.deepEqual([answer.statusCode, answer.headers.location], [201, `/v2/main/b/blobs/${SOME.digest}`])
      assert.deepEqual((await call('GET', `b/blobs/${SOME.digest}`)).rawPayload, SOME.bytes)
      assert.equal(await statusOf(call('POST', `b/blobs/uploads/?mount=${UNKNOWN_DIGEST}&from=main%2Flab%2Fimg`)), 202)
      assert.equal(await statusOf(call('POST', `b/blobs/uploads/?mount=${SOME.digest}`)), 201)
      assert.equal(await statusOf(call('POST', `c/blobs/uploads/?mount=${SOME.digest}`)), 202)
    },
  ],
])
