import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { describe, it } from 'node:test'
import { parseNuspec } from '../../protocols/feeds/nuget/nuspec.ts'
import { openPackageArchive, readNuspec } from '../../protocols/feeds/nuget/package-archive.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { findDebianPackages } from './nuget-debian.ts'
import { createNuspec, createPackage, createZip } from './nuget-package.ts'

async function read(zip: Buffer) {
  let asked = 0
  using archive = await openPackageArchive({
    size: zip.length,
    open: async ({ start, end }) => {
      asked += end - start
      return Readable.from([zip.subarray(start, end)], { objectMode: false })
    },
  })
  const nuspec = await readNuspec(archive)
  return { nuspec, asked, names: archive.entries.map(({ fileName }) => fileName) }
}

function refuses(zip: Buffer, message: RegExp): Promise<void> {
  return assert.rejects(read(zip), (error) => {
    assert.ok(isFeedmeshError(error, 'BAD_PACKAGE'), String(error))
    assert.match(error.message, message)
    assert.ok(error.message.length < 500)
    return true
  })
}

describe('nupkg: the archive', () => {
  it('gives its manifest, with no more read than the list of members and the manifest', async () => {
    const filler = { name: 'lib/a.bin', content: Buffer.alloc(4_000_000, 1) }
    const zip = createPackage({ id: 'Acme.Lib', version: '1.2.3', members: [filler] })
    const { nuspec, asked, names } = await read(zip)
    assert.match(Buffer.from(nuspec).toString(), /<id>Acme\.Lib<\/id>/)
    assert.ok(asked < 1_000_000, `${asked}`)
    assert.ok(names.includes('lib/a.bin'))
  })

  it('is refused when it is no zip, cut off, or has a broken member', async () => {
    const zip = createPackage({ id: 'a', version: '1.0' })
    await refuses(Buffer.alloc(0), /not a sound zip/)
    await refuses(Buffer.from('not a zip'), /not a sound zip/)
    await refuses(zip.subarray(0, -30), /not a sound zip/)
    await refuses(zip.subarray(10), /not a sound zip|invalid/)
    const broken = Buffer.from(
      createZip([{ name: 'a.nuspec', content: createNuspec({ id: 'a', version: '1' }), isDeflated: true }]),
    )
    broken.fill(0xff, 40, 80)
    await refuses(broken, /not a sound zip/)
  })

  it('needs exactly one .nuspec, at its root', async () => {
    await refuses(createZip([{ name: 'lib/a.nuspec', content: 'x' }]), /no \.nuspec/)
    const two = [
      { name: 'a.nuspec', content: 'x' },
      { name: 'B.NUSPEC', content: 'x' },
    ]
    await refuses(createZip(two), /2 \.nuspec files/)
  })

  it('is refused with a member that a client would write elsewhere', async () => {
    for (const name of [
      '../x',
      'a/../../x',
      '/etc/x',
      'C:/x',
      '..\\x',
      'a\\..\\..\\x',
      '%2e%2e/x',
      'a/%2e%2e%5cx',
      '%2Fetc/x',
      'a\0b',
    ]) {
      await refuses(
        createPackage({ id: 'a', version: '1.0', members: [{ name, content: 'x' }] }),
        /outside the package|invalid|absolute|not a sound/,
      )
    }
    const twice = [
      { name: 'x', content: '1' },
      { name: 'x', content: '2' },
    ]
    await refuses(createPackage({ id: 'a', version: '1.0', members: twice }), /two members/)
  })

  it('is refused as a bomb', async () => {
    const bomb = { name: 'bomb', content: Buffer.alloc(1000), isDeflated: true, claimedSize: 4_000_000_000 }
    await refuses(createPackage({ id: 'a', version: '1.0', members: [bomb] }), /unpack to 400000/)
    const nuspec = createNuspec({ id: 'a', version: '1', description: 'x'.repeat(2_000_000) })
    await refuses(createZip([{ name: 'a.nuspec', content: nuspec, isDeflated: true }]), /more than 1048576 bytes/)
    const lying = createZip([{ name: 'a.nuspec', content: nuspec, isDeflated: true, claimedSize: 10 }])
    await refuses(lying, /not a sound zip/)
  })

  it('is refused with 100,000 members before they are looked at', async () => {
    const many = Array.from({ length: 100_000 }, (_value, at) => ({ name: `f${at}`, content: '' }))
    const zip = createZip([{ name: 'a.nuspec', content: createNuspec({ id: 'a', version: '1' }) }, ...many])
    await assert.rejects(read(zip), (error) => isFeedmeshError(error, 'BAD_PACKAGE'))
  })

  it('is read with 60,000 members', async () => {
    const many = Array.from({ length: 60_000 }, (_value, at) => ({ name: `f${at}`, content: '' }))
    const zip = createZip([{ name: 'a.nuspec', content: createNuspec({ id: 'a', version: '1' }) }, ...many])
    assert.equal((await read(zip)).names.length, 60_001)
  })

  it('of Debian is read', async (t) => {
    const files = await findDebianPackages(t)
    if (files === undefined)
      return t.skip('nupkg-newtonsoft.json.6.0.8 and nupkg-nunit.2.6.4 cannot be downloaded here')
    const ids = []
    for (const file of files) {
      const { id, originalVersion, fields } = parseNuspec((await read(await readFile(file))).nuspec)
      assert.ok((fields.description ?? '').length > 20)
      ids.push(`${id} ${originalVersion}`)
    }
    assert.deepEqual(ids.sort(), ['NUnit 2.6.4', 'Newtonsoft.Json 6.0.8'])
  })
})

describe('nuspec', () => {
  const parse = (text: string | Uint8Array) => parseNuspec(Buffer.from(text))
  const parseWith = (more: string) => parse(createNuspec({ id: 'Acme.Lib', version: '1.10', more }))

  it('is read with all its spellings of text', () => {
    const spec = parseWith(
      '<title>a &amp; &#x41;&#66; &lt;</title><summary><![CDATA[<b>&amp;</b>]]></summary><tags>one two,three</tags><serviceable/>',
    )
    assert.equal(spec.originalVersion, '1.10')
    assert.equal(spec.version.normalized, '1.10.0')
    assert.equal(spec.fields.title, 'a & AB <')
    assert.equal(spec.fields.summary, '<b>&amp;</b>')
    assert.deepEqual(spec.tags, ['one', 'two', 'three'])
  })

  it('is read in UTF-16 and with a byte order mark', () => {
    const text = createNuspec({ id: 'a', version: '1.0' })
    assert.equal(parse(Buffer.from(`\uFEFF${text}`, 'utf16le')).id, 'a')
    assert.equal(parse(`\uFEFF${text}`).id, 'a')
  })

  it('gives dependencies with and without groups, and package types', () => {
    const flat = parseWith('<dependencies><dependency id="x" version="[1.0,2.0)"/><dependency id="y"/></dependencies>')
    assert.deepEqual(flat.dependencyGroups, [
      {
        targetFramework: '',
        dependencies: [
          { id: 'x', range: '[1.0,2.0)' },
          { id: 'y', range: '' },
        ],
      },
    ])
    const grouped = parseWith(
      '<dependencies><group targetFramework="net45"><dependency id="x" version="1"/></group><group/></dependencies><packageTypes><packageType name="DotnetTool"/></packageTypes>',
    )
    assert.deepEqual(grouped.dependencyGroups, [
      { targetFramework: 'net45', dependencies: [{ id: 'x', range: '1' }] },
      { targetFramework: '', dependencies: [] },
    ])
    assert.deepEqual(grouped.packageTypes, ['DotnetTool'])
  })

  it('is refused when it cannot be trusted', () => {
    const text = createNuspec({ id: 'a', version: '1.0' })
    const wrong: readonly (string | Uint8Array)[] = [
      '',
      '<package/>',
      '<a>'.repeat(200_000),
      text.replace('</metadata>', ''),
      text.replace('<package', '<!DOCTYPE x [<!ENTITY a "b">]><package'),
      Buffer.from([0xff, 0xff, 0xff]),
      ...['', '../a', 'a b', 'a/b', 'a..b', '.a', 'a.', '<x/>', 'é\u0301\u0301', 'x'.repeat(101)].map((id) =>
        createNuspec({ id, version: '1.0' }),
      ),
      ...['', '1.', 'x', '1.0.0.0.0', '-1', '1.0.0-', '1.0-a..b', '1.0-é', '99999999999'].map((version) =>
        createNuspec({ id: 'a', version }),
      ),
      createNuspec({ id: 'a', version: '1', more: '<dependencies><dependency id="../x"/></dependencies>' }),
      createNuspec({
        id: 'a',
        version: '1',
        more: '<dependencies><dependency id="x" version="&lt;script&gt;"/></dependencies>',
      }),
    ]
    for (const spec of wrong) {
      assert.throws(
        () => parse(spec),
        (error) => isFeedmeshError(error, 'BAD_PACKAGE'),
        String(spec).slice(0, 100),
      )
    }
  })
})
