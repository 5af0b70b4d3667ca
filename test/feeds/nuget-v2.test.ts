/** The queries of NuGet's version 2 as clients were seen to send them, and as choco's sources build them. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { chocolateyFeedType } from '../../protocols/feeds/chocolatey/feed-type.ts'
import { nugetFeedType } from '../../protocols/feeds/nuget/feed-type.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from '../support/feed-server.ts'
import { createPackage, type PackageSpec } from './nuget-package.ts'
import { createForm } from './nuget-sample.ts'

const PACKAGES: readonly PackageSpec[] = [
  { id: 'Lab', version: '1.0' },
  { id: 'Lab', version: '1.2.0', more: '<tags>tool admin</tags><title>The lab</title>' },
  { id: 'Lab', version: '1.10.0', more: '<dependencies><dependency id="dep.x" version="[1.0,2.0)"/></dependencies>' },
  { id: 'Lab', version: '2.0.0-beta' },
  { id: 'Lab', version: '2.0.0-beta.2' },
  { id: 'dep.x', version: '1.0.0', description: 'Of use to the lab.' },
  { id: 'zed', version: '0.9-pre' },
]

const parser = new XMLParser({ ignoreAttributes: false, parseTagValue: false, isArray: (name) => name === 'entry' })

async function openGallery(t: TestContext, type = chocolateyFeedType, packages = PACKAGES) {
  const server = await createFeedServer([nugetFeedType, chocolateyFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  let now = 1_700_000_000_000
  server.addFeed(type.name, 'main', { now: () => now++ })
  const send = (method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, options: object = {}) =>
    server.app.inject({ method, url: `/nuget/main/${path}`, headers: withKey(PUBLISHER_KEY), ...options })
  const push = (spec: PackageSpec, newline?: string) => {
    const { payload, headers } = createForm(createPackage(spec), newline)
    return send('PUT', 'api/v2/package/', { payload, headers: withKey(PUBLISHER_KEY, headers) })
  }
  for (const spec of packages) assert.equal((await push(spec)).statusCode, 201)
  const get = async (path: string) => {
    const answer = await send('GET', path)
    assert.equal(answer.statusCode, 200, `${path}\n${answer.body}`)
    return answer
  }
  const feed = async (path: string) => {
    const { body } = await get(path)
    assert.equal(XMLValidator.validate(body), true)
    return parser.parse(body).feed
  }
  const names = async (path: string): Promise<string[]> => {
    const entries = (await feed(path)).entry ?? []
    return entries.map((entry: Record<string, Record<string, unknown>>) => {
      const { 'd:Id': id, 'd:Version': version } = entry['m:properties'] ?? {}
      return `${String(id)} ${String(version)}`
    })
  }
  return { send, push, get, feed, names }
}

describe('nuget v2: what clients ask', () => {
  it('choco install and upgrade: Packages() filtered by id', async (t) => {
    const { names } = await openGallery(t)
    assert.deepEqual(
      await names("Packages()?$filter=(tolower(Id)%20eq%20'lab')%20and%20IsLatestVersion&semVerLevel=2.0.0"),
      ['Lab 1.10.0'],
    )
    assert.deepEqual(
      await names("Packages()?$filter=(tolower(Id)%20eq%20'lab')%20and%20IsAbsoluteLatestVersion&semVerLevel=2.0.0"),
      ['Lab 2.0.0-beta.2'],
    )
    assert.deepEqual(await names("Packages?$filter=tolower(Id) eq 'lab' and IsAbsoluteLatestVersion"), [
      'Lab 2.0.0-beta',
    ])
    assert.deepEqual(await names("Packages()?$filter=Id eq 'LAB'"), [])
  })

  it('choco search in all its orders', async (t) => {
    const { names, get } = await openGallery(t)
    for (const order of [
      'Id',
      'DownloadCount%20desc,Id',
      'Id,Version%20desc',
      'DownloadCount%20desc,Id,Version%20desc',
    ]) {
      const query = `$filter=IsLatestVersion&$orderby=${order}&$skip=0&$top=30&searchTerm='lab'&targetFramework=''&includePrerelease=false&semVerLevel=2.0.0`
      assert.deepEqual(await names(`Search()?${query}`), ['dep.x 1.0.0', 'Lab 1.10.0'], order)
    }
    const all = "$orderby=Id,Version%20desc&searchTerm='lab'&targetFramework=''&includePrerelease=true"
    assert.deepEqual(await names(`Search()?${all}`), [
      'dep.x 1.0.0',
      'Lab 2.0.0-beta',
      'Lab 1.10.0',
      'Lab 1.2.0',
      'Lab 1.0',
    ])
    const filters = [
      ["substringof('ab',tolower(Id))", ['Lab 1.10.0']],
      ["substringof('admin',Tags)", ['Lab 1.2.0']],
      ["startswith(tolower(Id),'la')", ['Lab 1.10.0']],
      ["(IsLatestVersion)%20and%20(startswith(tolower(Id),'dep'))", ['dep.x 1.0.0']],
      ["(IsLatestVersion)%20and%20(substringof('x',tolower(Id)))", ['dep.x 1.0.0']],
      ["not IsLatestVersion and Version lt '1.10'", ['Lab 1.0', 'Lab 1.2.0']],
      [
        "Published ge datetime'2020-01-01T00:00:00' and PackageSize gt 10L and Id ne null and Id eq 'dep.x'",
        ['dep.x 1.0.0'],
      ],
    ] as const
    for (const [filter, expected] of filters) {
      const latest = filter.includes('Latest') || filter.includes('Tags') || filter.includes('dep.x')
      const whole = latest ? filter : `(IsLatestVersion)%20and%20(${filter})`
      assert.deepEqual(await names(`Search()?$filter=${whole}&searchTerm=''&includePrerelease=false`), expected, filter)
    }
    const count = await get(
      "Search()/$count?$filter=IsLatestVersion&searchTerm='lab'&targetFramework=''&includePrerelease=false",
    )
    assert.equal(count.body, '2')
    assert.match(String(count.headers['content-type']), /^text\/plain/)
  })

  it('the wide form of old clients', async (t) => {
    const { names } = await openGallery(t)
    const wide = ['Id', 'Description', 'Tags']
      .map((name) => `((${name}%20ne%20null)%20and%20substringof('admin',tolower(${name})))`)
      .join('%20or%20')
    assert.deepEqual(await names(`Packages()?$filter=(${wide})`), ['Lab 1.2.0'])
  })

  it('FindPackagesById() and Packages(Id=,Version=) in every spelling of a version', async (t) => {
    const { names, get, send } = await openGallery(t)
    assert.deepEqual(await names("FindPackagesById()?id='LAB'"), [
      'Lab 1.0',
      'Lab 1.2.0',
      'Lab 1.10.0',
      'Lab 2.0.0-beta',
    ])
    assert.equal((await names("FindPackagesById()?id='lab'&semVerLevel=2.0.0")).length, 5)
    assert.deepEqual(
      await names("FindPackagesById()?$filter=IsLatestVersion&$orderby=Version%20desc&$top=1&id='lab'"),
      ['Lab 1.10.0'],
    )
    assert.deepEqual(await names("FindPackagesById()?id='nothing'"), [])
    for (const key of ["Id='lab',Version='1.2'", 'Id=%27Lab%27,Version=%271.2.0.0%27', "Version='01.2.0',Id='lab'"]) {
      const { body, headers } = await get(`Packages(${key})`)
      const { entry } = parser.parse(body)
      assert.equal(entry[0]['m:properties']['d:NormalizedVersion'], '1.2.0')
      assert.equal(entry[0].content['@_src'], 'http://localhost:80/nuget/main/package/Lab/1.2.0')
      assert.equal(headers.dataserviceversion, '2.0;')
    }
    assert.equal((await send('GET', "Packages(Id='lab',Version='9')")).statusCode, 404)
    assert.equal((await get('package/lab/1.2')).rawPayload.length, createPackage(PACKAGES[1] as PackageSpec).length)
  })

  it('GetUpdates() with constraints', async (t) => {
    const { names } = await openGallery(t)
    const ask = (more: string) =>
      names(`GetUpdates()?packageIds='lab|dep.x|zed'&versions='1.0|1.0.0|0.1'&targetFrameworks=''&${more}`)
    assert.deepEqual(await ask("includePrerelease=false&includeAllVersions=false&versionConstraints=''"), [
      'Lab 1.10.0',
    ])
    assert.deepEqual(await ask('includePrerelease=true&includeAllVersions=false'), ['Lab 2.0.0-beta', 'zed 0.9-pre'])
    assert.deepEqual(await ask('includePrerelease=false&includeAllVersions=true'), ['Lab 1.2.0', 'Lab 1.10.0'])
    assert.deepEqual(await ask("includePrerelease=false&includeAllVersions=false&versionConstraints='[1.0,1.5)||'"), [
      'Lab 1.2.0',
    ])
  })

  it('the service document and a schema that shows what choco looks for', async (t) => {
    const { get } = await openGallery(t)
    assert.match((await get('')).body, /<collection href="Packages">/)
    for (const path of ['$metadata', '%24metadata', 'api/v2/$metadata']) {
      const { body } = await get(path)
      assert.equal(XMLValidator.validate(body), true)
      for (const name of ['Search', 'FindPackagesById', 'GetUpdates'])
        assert.match(body, new RegExp(`<FunctionImport Name="${name}"`))
      assert.match(body, /<Property Name="IsAbsoluteLatestVersion"/)
    }
  })

  it('an empty feed is an empty list', async (t) => {
    const { names, get } = await openGallery(t, nugetFeedType, [])
    for (const path of ['Packages()', "Search()?searchTerm='x'", "FindPackagesById()?id='x'"])
      assert.deepEqual(await names(path), [])
    assert.equal((await get('Packages()/$count')).body, '0')
  })
})

describe('nuget v2: answers', () => {
  it('come in pages that name the next one and never themselves', async (t) => {
    const many = Array.from({ length: 230 }, (_value, at) => ({
      id: `p${String(at).padStart(3, '0')}`,
      version: '1.0',
    }))
    const { feed } = await openGallery(t, nugetFeedType, many)
    const seen = new Set<string>()
    let url: string | undefined = 'Packages()?$filter=IsLatestVersion&$orderby=Id'
    let pages = 0
    while (url !== undefined) {
      const page: { entry: { id: string }[]; link: { '@_rel': string; '@_href': string }[] | { '@_rel': string } } =
        await feed(url)
      for (const { id } of page.entry) seen.add(id)
      pages += 1
      const next = [page.link].flat().find((link) => link['@_rel'] === 'next') as { '@_href': string } | undefined
      const path: string | undefined = next?.['@_href'].replace(/^.*\/nuget\/main\//, '')
      assert.notEqual(path, url)
      url = path
    }
    assert.deepEqual([seen.size, pages], [230, 3])
    assert.equal((await feed('Packages()?$top=30&$skip=210')).entry.length, 20)
    assert.equal((await feed('Packages()?$top=0&$inlinecount=allpages'))['m:count'], '230')
  })

  it('have types, nulls, dependencies and only what was selected', async (t) => {
    const { get } = await openGallery(t)
    const { body } = await get("Packages(Id='lab',Version='1.10.0')")
    assert.match(body, /<d:Dependencies>dep\.x:\[1\.0,2\.0\)<\/d:Dependencies>/)
    assert.match(body, /<d:IsLatestVersion m:type="Edm\.Boolean">true</)
    assert.match(body, /<d:PackageHash>[A-Za-z0-9+/]{86}==</)
    assert.match(body, /<d:ReleaseNotes m:null="true" \/>/)
    const selected = (await get("Packages()?$select=Id,Version&$filter=Id eq 'dep.x'")).body
    assert.match(selected, /<m:properties><d:Id>dep\.x<\/d:Id><d:Version>1\.0\.0<\/d:Version><\/m:properties>/)
  })

  it('are JSON where asked for', async (t) => {
    const { get } = await openGallery(t)
    const { d } = (await get("Packages()?$format=json&$inlinecount=allpages&$filter=Id eq 'dep.x'")).json()
    assert.equal(d.__count, '1')
    assert.equal(d.results[0].Id, 'dep.x')
  })

  it('leave out what was unlisted, but for who names it', async (t) => {
    const { send, names, get } = await openGallery(t)
    assert.equal(
      (
        await send('DELETE', 'api/v2/package/Lab/1.10', {
          headers: withKey(PUBLISHER_KEY, { 'content-type': 'text/html' }),
        })
      ).statusCode,
      204,
    )
    assert.deepEqual(await names("Packages()?$filter=tolower(Id) eq 'lab' and IsLatestVersion"), ['Lab 1.2.0'])
    assert.ok(!(await names("Search()?searchTerm='lab'")).includes('Lab 1.10.0'))
    assert.match(
      (await get("Packages(Id='lab',Version='1.10.0')")).body,
      /<d:Published m:type="Edm\.DateTime">1900-01-01/,
    )
    assert.equal((await send('GET', 'package/lab/1.10.0')).statusCode, 200)
    const item = (await get('v3/registration/lab/1.10.0.json')).json()
    assert.equal(item.listed, false)
    assert.equal((await send('POST', 'v3/package/lab/1.10.0')).statusCode, 200)
    assert.deepEqual(await names("Packages()?$filter=tolower(Id) eq 'lab' and IsLatestVersion"), ['Lab 1.10.0'])
    assert.equal((await send('DELETE', 'api/v2/package/lab/7.0')).statusCode, 404)
  })

  for (const [what, packages] of [
    ['a feed', PACKAGES],
    ['an empty feed', []],
  ] as const)
    it(`to malformed queries of ${what} are errors in the dialect of OData, soon`, async (t) =>
      refuseQueries(t, packages))

  async function refuseQueries(t: TestContext, packages: readonly PackageSpec[]) {
    const { send } = await openGallery(t, chocolateyFeedType, packages)
    const filters = [
      'Id eq',
      "Id eq 'x",
      '((((Id',
      'frob(Id)',
      'Nothing eq 1',
      "Id eq 'x' extra",
      ')',
      "substringof('x')",
      'tolower(Id,Id)',
      `${'('.repeat(3000)}Id`,
      'x'.repeat(5000),
      `${'not '.repeat(900)}(`,
      "datetime'never' lt Published",
      'Id eq \u0000',
      'Id and Id',
      'Id',
      "'x'",
      '7 or IsPrerelease',
      'not Published',
      'Id eq 1',
      "IsLatestVersion eq 'true'",
      "Published gt '2020-01-01'",
      'PackageSize lt true',
      "substringof('x',IsLatestVersion)",
      "startswith(PackageSize,'1')",
      "length(Id) eq 'x'",
    ]
    const queries = [
      ...filters.map((filter) => `$filter=${encodeURIComponent(filter)}`),
      '$top=-1',
      '$skip=x',
      '$orderby=Id;drop',
      '$orderby=Nothing',
      '$select=Nothing',
      '$inlinecount=some',
      '$format=xml',
    ]
    for (const query of queries) {
      const answer = await send('GET', `Packages()?${query}`)
      assert.equal(answer.statusCode, 400, query.slice(0, 80))
      assert.match(answer.body, /<m:error [^>]*><m:code>BAD_INPUT<\/m:code><m:message xml:lang="en-US">/)
      assert.ok(answer.body.length < 700)
    }
    assert.equal((await send('GET', "Packages(Id='x')")).statusCode, 400)
    assert.equal((await send('GET', 'FindPackagesById()')).statusCode, 400)
  }
})

describe('nuget: pushes', () => {
  it('of the old client, whose part ends with a bare line feed, arrive byte for byte', async (t) => {
    const { push, get } = await openGallery(t, nugetFeedType, [])
    for (const [at, newline] of ['\n', '\r\n'].entries()) {
      const spec = { id: 'Old', version: `1.${at}` }
      assert.equal((await push(spec, newline)).statusCode, 201)
      assert.ok((await get(`package/Old/1.${at}`)).rawPayload.equals(createPackage(spec)))
    }
  })

  it('of what is there already are refused, and the client is told why', async (t) => {
    const { push } = await openGallery(t)
    const again = await push({ id: 'LAB', version: '1.0.0.0', description: 'other' })
    assert.equal(again.statusCode, 409)
    assert.match(again.statusMessage, /LAB 1\.0\.0 exists already/)
  })

  it('reach chocolatey and nuget feeds at one address, and no others', async (t) => {
    for (const type of [nugetFeedType, chocolateyFeedType]) {
      const { names } = await openGallery(t, type, [{ id: 'a', version: '1.0' }])
      assert.deepEqual(await names('Packages()'), ['a 1.0'])
    }
  })
})
