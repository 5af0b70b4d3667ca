/** The checks of the distribution specification's conformance list, each by its name: discovery. */

import assert from 'node:assert/strict'
import { CONFIG_TYPE, descriptorOf, IMAGE_TYPE, INDEX_TYPE, makeImage, makeIndex } from '../support/oci-image.ts'
import { codeOf, testChecks, UNKNOWN_DIGEST } from '../support/registry-bench.ts'

testChecks('discovery', [
  [
    'tags: sorted, n, exclusive last, Link',
    async ({ call, pushImage }) => {
      const image = makeImage()
      for (const tag of ['b', 'a', 'v1.10', 'v1.9', 'B', '_x']) await pushImage('a', tag, image)
      const list = async (query: string) => {
        const { headers, body } = await call('GET', `a/tags/list${query}`)
        return { ...(JSON.parse(body) as { name: string; tags: string[] }), link: headers.link }
      }
      const all = ['B', '_x', 'a', 'b', 'v1.10', 'v1.9']
      assert.deepEqual(await list(''), { name: 'main/a', tags: all, link: undefined })
      const first = await list('?n=2')
      assert.deepEqual(first.tags, all.slice(0, 2))
      assert.equal(first.link, '</v2/main/a/tags/list?n=2&last=_x>; rel="next"')
      assert.deepEqual((await list('?n=2&last=_x')).tags, ['a', 'b'])
      assert.deepEqual(await list('?n=4&last=_x'), { name: 'main/a', tags: all.slice(2), link: undefined })
      assert.deepEqual((await list('?last=aa')).tags, ['b', 'v1.10', 'v1.9'])
      assert.deepEqual((await list('?last=zzz')).tags, [])
      assert.deepEqual(await list('?n=0'), { name: 'main/a', tags: [], link: undefined })
      assert.equal(codeOf(await call('GET', 'a/tags/list?n=-1')), 'PAGINATION_NUMBER_INVALID')
      assert.equal(codeOf(await call('GET', 'b/tags/list')), 'NAME_UNKNOWN')
    },
  ],
  [
    'referrers: an empty index, 200, for what is unknown',
    async ({ call }) => {
      const answer = await call('GET', `a/referrers/${UNKNOWN_DIGEST}`)
      assert.equal(answer.statusCode, 200)
      assert.equal(answer.headers['content-type'], INDEX_TYPE)
      assert.deepEqual(answer.json(), { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] })
      assert.equal(codeOf(await call('GET', 'a/referrers/latest')), 'DIGEST_INVALID')
    },
  ],
  [
    'PUT with subject answers OCI-Subject; a missing subject is accepted; referrers list it with its type and annotations',
    async ({ call, pushImage }) => {
      const subject = makeImage()
      const of = descriptorOf(IMAGE_TYPE, subject)
      const byConfig = makeImage({ fields: { subject: of, annotations: { 'org.example.kind': 'scan' } } })
      const byType = makeImage({ fields: { subject: of, artifactType: 'application/vnd.example.sbom' } })
      const index = makeIndex([], { subject: of, artifactType: 'application/vnd.example.sbom' })
      for (const image of [byConfig, byType, index])
        assert.equal((await pushImage('a', image.digest, image)).headers['oci-subject'], subject.digest)
      await pushImage('a', 'v1', subject)
      type Found = { digest: string; artifactType?: string; annotations?: object; size: number; mediaType: string }
      const list = async (query = '') => {
        const answer = await call('GET', `a/referrers/${subject.digest}${query}`)
        return {
          found: answer.json<{ manifests: Found[] }>().manifests,
          applied: answer.headers['oci-filters-applied'],
        }
      }
      const { found, applied } = await list()
      assert.equal(applied, undefined)
      assert.deepEqual(
        found.map(({ digest }) => digest).sort(),
        [byConfig, byType, index].map(({ digest }) => digest).sort(),
      )
      assert.deepEqual(
        found.find(({ digest }) => digest === byConfig.digest),
        {
          mediaType: IMAGE_TYPE,
          digest: byConfig.digest,
          size: byConfig.bytes.length,
          artifactType: CONFIG_TYPE,
          annotations: { 'org.example.kind': 'scan' },
        },
      )
      const filtered = await list('?artifactType=application%2Fvnd.example.sbom')
      assert.equal(filtered.applied, 'artifactType')
      assert.deepEqual(filtered.found.map(({ digest }) => digest).sort(), [byType.digest, index.digest].sort())
      await call('DELETE', `a/manifests/${index.digest}`)
      assert.equal((await list()).found.length, 2)
    },
  ],
  [
    'GET /v2/ answers a client with a key, and asks others for a token',
    async ({ call }) => {
      const answer = await call('GET', '/v2/')
      assert.deepEqual([answer.statusCode, answer.body], [200, '{}'])
      assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
      const refused = await call('GET', '/v2/', undefined, { authorization: '' })
      assert.deepEqual([refused.statusCode, codeOf(refused)], [401, 'UNAUTHORIZED'])
      assert.match(
        String(refused.headers['www-authenticate']),
        /^Bearer realm="http:\/\/[^"]+\/v2\/token",service="[^"]+"$/,
      )
    },
  ],
  [
    'the catalog lists FEED/IMAGE, sorted, with n and last',
    async ({ call, pushImage }) => {
      for (const name of ['z', 'a/b', 'a-b', 'a']) await pushImage(name, 'v1', makeIndex([]))
      const list = async (query = '') => {
        const { headers, body } = await call('GET', `/v2/_catalog${query}`)
        return [(JSON.parse(body) as { repositories: string[] }).repositories, headers.link]
      }
      assert.deepEqual(await list(), [['main/a', 'main/a-b', 'main/a/b', 'main/z'], undefined])
      assert.deepEqual(await list('?n=2'), [['main/a', 'main/a-b'], '</v2/_catalog?n=2&last=main%2Fa-b>; rel="next"'])
      assert.deepEqual(await list('?n=2&last=main%2Fa-b'), [['main/a/b', 'main/z'], undefined])
      assert.deepEqual(await list('?last=n'), [[], undefined])
    },
  ],
])
