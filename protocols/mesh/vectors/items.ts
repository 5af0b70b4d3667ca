/** One realistic item of every planned feed type as rows. */

import { CHUNKED_FROM_BYTES, MAX_INLINE_META_BYTES, META_ROLE, type Row, type RowClass, type RowFile } from '../../../src/catalog/row.ts'
import { sha256Digest } from '../../../src/catalog/digest.ts'
import { stampAt } from '../../../src/catalog/stamp.ts'
import { flagKey } from '../../../src/catalog/view.ts'
import { noise, START } from './vector.ts'

/** Rows of one item; documents too long to be inline are named by their digest. */
export interface Item {
  readonly name: string
  readonly what: string
  readonly rows: readonly Row[]
  readonly documents: readonly Uint8Array[]
}

interface RowParts {
  readonly unit: string
  readonly key: string
  readonly rowClass?: RowClass
  readonly meta?: string
  readonly files?: readonly RowFile[]
}

function file(role: string, size: number, name = role, algorithm: 'sha256' | 'sha512' = 'sha256'): RowFile {
  const hex = algorithm === 'sha256' ? noise(name).toString('hex') : Buffer.concat([noise(name), noise(`${name} 2`)]).toString('hex')
  const chunkRoot = size >= CHUNKED_FROM_BYTES ? { chunkRoot: `sha256:${noise(`chunks of ${name}`).toString('hex')}` as const } : {}
  return { role, digest: `${algorithm}:${hex}`, size, ...chunkRoot }
}

class ItemRows {
  readonly rows: Row[] = []
  readonly documents: Uint8Array[] = []

  add(parts: RowParts): this {
    const { unit, key, rowClass = 'immutable', meta = '', files = [] } = parts
    const bytes = Buffer.from(meta)
    const isLong = bytes.length > MAX_INLINE_META_BYTES
    if (isLong) this.documents.push(bytes)
    const metaFile: RowFile = { role: META_ROLE, digest: sha256Digest(bytes), size: bytes.length }
    const stamp = stampAt(START + this.rows.length)
    this.rows.push({ rowClass, stamp, unit, key, meta: isLong ? new Uint8Array(0) : bytes, files: isLong ? [...files, metaFile] : files })
    return this
  }

  as(name: string, what: string): Item {
    return { name, what, rows: this.rows, documents: this.documents }
  }
}

const json = (value: unknown): string => JSON.stringify(value)

function npm(): Item {
  const dependencies = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`dependency-${index}`, `^${index}.0.0`]))
  const integrity = `sha512-${Buffer.concat([noise('i'), noise('j')]).toString('base64')}`
  const dist = { integrity, shasum: noise('shasum', 20).toString('hex'), fileCount: 12, unpackedSize: 48_213 }
  const manifest = { name: '@acme/left-pad', version: '1.4.0', main: 'index.js', engines: { node: '>=18' }, dependencies, dist }
  const root = { description: 'Pads on the left', license: 'MIT', readme: '# left-pad\n', keywords: ['pad'] }
  const unit = '@acme/left-pad'
  return new ItemRows()
    .add({ unit, key: 'v/1.4.0', meta: json({ manifest, root }), files: [file('tarball', 104_217), file('provenance', 9_418)] })
    .add({ unit, key: 'tag/latest', rowClass: 'register', meta: '1.4.0' })
    .add({ unit, key: flagKey('v/1.3.9', 'deprecated'), rowClass: 'flag', meta: 'pads on the right; use 1.4.0' })
    .add({ unit, key: 'v/1.3.8', rowClass: 'burn' })
    .as('npm', 'a scoped npm package: a version with provenance, latest, a deprecated and an unpublished version')
}

function docker(): Item {
  const unit = 'team/app'
  const key = (digest: string) => `m/${digest}`
  const manifest = (name: string, size: number) => file('manifest', size, `manifest ${name}`)
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const [amd, arm] = [manifest('amd64', 1_612), manifest('arm64', 1_611)]
  const index = file('manifest', 1_874, 'index')
  const children = [amd, arm].map((child) => ({ ...child, role: 'child' }))
  const sbom = manifest('sbom', 732)
  return new ItemRows()
    .add({ unit, key: key(amd.digest), meta: json({ mediaType }), files: [amd, file('config', 7_023, 'config amd64'), file('layer', 29_538_011, 'base amd64'), file('layer', 1_204_331, 'app amd64', 'sha512')] })
    .add({ unit, key: key(arm.digest), meta: json({ mediaType }), files: [arm, file('config', 7_031, 'config arm64'), file('layer', 28_911_407, 'base arm64'), file('layer', 1_198_220, 'app arm64', 'sha512')] })
    .add({ unit, key: key(index.digest), meta: json({ mediaType: 'application/vnd.oci.image.index.v1+json' }), files: [index, ...children] })
    .add({ unit, key: 'tag/1.4', rowClass: 'register', meta: json({ digest: index.digest, size: index.size, mediaType: 'application/vnd.oci.image.index.v1+json' }) })
    .add({ unit, key: key(sbom.digest), meta: json({ mediaType, artifactType: 'application/spdx+json', subject: index.digest }), files: [sbom, file('config', 2, 'empty config'), file('layer', 81_233, 'sbom layer')] })
    .as('docker', 'a multi-arch image: two manifests with a sha512 layer each, their index, a tag, an SBOM that refers to the index')
}

function debian(): Item {
  const depends = Array.from({ length: 60 }, (_, index) => `libexample${index} (>= ${index}.2~rc1-3+deb12u1)`).join(', ')
  const stanza = [
    'Package: hello-world', 'Source: hello (2.10-3)', 'Version: 2.10-3+b1', 'Architecture: amd64', 'Maintainer: Example Maintainers <maintainers@example.net>',
    'Installed-Size: 283', `Depends: ${depends}`, 'Section: devel', 'Priority: optional', 'Multi-Arch: foreign', 'Homepage: https://example.net/hello',
    'Description: example package based on GNU hello', ' It prints a friendly greeting.', `SHA256: ${noise('deb').toString('hex')}`, 'Size: 53084', '',
  ].join('\n')
  const release = ['Origin: Example', 'Suite: stable', 'Codename: bookworm', 'Components: main', 'Architectures: amd64', 'Date: Thu, 01 Jan 2026 00:00:00 UTC', ''].join('\n')
  const member = (name: string, size: number) => file('member', size, name)
  return new ItemRows()
    .add({ unit: 'bookworm/main/hello-world', key: 'hello-world_2.10-3+b1_amd64', meta: stanza, files: [file('deb', 53_084, 'deb')] })
    .add({ unit: 'bookworm/index', key: 'main/binary-amd64/Packages.gz', rowClass: 'register', meta: json({ members: 2 }), files: [member('packages member 1', 61_220), member('packages member 2', 60_871)] })
    .add({ unit: 'bookworm/index', key: 'Release', rowClass: 'register', meta: release, files: [file('signature', 833, 'Release.gpg'), file('inline', 1_402, 'InRelease')] })
    .as('debian', 'a Debian package with its 2 KB stanza, and the signed index of its suite')
}

function rpm(): Item {
  const header = { name: 'nginx', epoch: '1', version: '1.24.0', release: '1.el9', arch: 'x86_64', summary: 'A high performance web server', license: 'BSD-2-Clause', buildTime: 1_700_000_000, requires: ['libc.so.6()(64bit)', 'openssl >= 1:3.0'] }
  return new ItemRows()
    .add({
      unit: 'el9/nginx',
      key: 'nginx-1:1.24.0-1.el9.x86_64',
      meta: json(header),
      files: [file('rpm', 31_457_280), file('primary', 3_211), file('filelists', 18_402), file('other', 2_977)],
    })
    .as('rpm', 'an RPM package with the parts of its repository metadata')
}

function nuget(): Item {
  const nuspec = `<?xml version="1.0" encoding="utf-8"?><package><metadata><id>Acme.Json</id><version>13.0.3</version><description>${'Parses JSON. '.repeat(90)}</description></metadata></package>`
  const unit = 'acme.json'
  return new ItemRows()
    .add({ unit, key: 'v/13.0.3', meta: nuspec, files: [file('nupkg', 2_441_966), file('icon', 8_956), file('readme', 5_021)] })
    .add({ unit, key: 'symbols/13.0.3', files: [file('snupkg', 1_020_333)] })
    .add({ unit, key: flagKey('v/13.0.3', 'listed'), rowClass: 'flag', meta: 'false' })
    .as('nuget', 'a NuGet package with its nuspec, its symbols pushed later, and unlisted')
}

function asset(): Item {
  const hashes = { md5: noise('md5', 16).toString('hex'), sha1: noise('sha1', 20).toString('hex'), sha512: Buffer.concat([noise('k'), noise('l')]).toString('hex') }
  const userMetadata = { 'x-build': { value: '4711', includeInResponseHeader: true } }
  return new ItemRows()
    .add({ unit: 'releases/2026/Übersicht (1).pdf', key: 'content', rowClass: 'register', meta: json({ contentType: 'application/pdf', hashes, userMetadata }), files: [file('content', 41_943_040)] })
    .as('asset', 'a file in a folder, with a name that is not ASCII')
}

function pypi(): Item {
  const unit = 'acme-requests'
  const wheel = 'f/acme_requests-2.32.3-py3-none-any.whl'
  return new ItemRows()
    .add({ unit, key: wheel, meta: json({ version: '2.32.3', filetype: 'bdist_wheel', requiresPython: '>=3.8', uploadTime: '2026-01-01T00:00:00.000000Z' }), files: [file('dist', 64_928), file('metadata', 4_610, 'pep 658'), file('provenance', 7_331, 'pep 740')] })
    .add({ unit, key: 'f/acme_requests-2.32.3.tar.gz', meta: json({ version: '2.32.3', filetype: 'sdist', requiresPython: '>=3.8' }), files: [file('dist', 131_218, 'sdist')] })
    .add({ unit, key: flagKey(wheel, 'yanked'), rowClass: 'flag', meta: 'broken on 3.13' })
    .as('pypi', 'a Python wheel with its metadata and provenance, its source, and yanked')
}

function maven(): Item {
  const unit = 'com.example:lib'
  const base = '1.0-SNAPSHOT/lib-1.0-20260101.120000-1'
  const metadata = '<?xml version="1.0"?><metadata modelVersion="1.1.0"><groupId>com.example</groupId><artifactId>lib</artifactId><version>1.0-SNAPSHOT</version></metadata>'
  return new ItemRows()
    .add({ unit, key: `${base}.jar`, files: [file('artifact', 81_442, 'jar')] })
    .add({ unit, key: `${base}.pom`, files: [file('artifact', 2_310, 'pom')] })
    .add({ unit, key: '1.0-SNAPSHOT/maven-metadata.xml', rowClass: 'register', meta: metadata })
    .as('maven', 'a Maven snapshot: files that never change and the metadata that does')
}

function cargo(): Item {
  const line = { name: 'acme-serde', vers: '1.0.200', deps: [], cksum: noise('crate').toString('hex'), features: { default: ['std'] }, features2: null, links: null, v: 2, rust_version: '1.60' }
  return new ItemRows()
    .add({ unit: 'acme-serde', key: 'v/1.0.200', meta: json(line), files: [file('crate', 77_210)] })
    .add({ unit: 'acme-serde', key: flagKey('v/1.0.199', 'yanked'), rowClass: 'flag', meta: 'true' })
    .as('cargo', 'a crate with its line of the index, and an older one yanked')
}

function go(): Item {
  return new ItemRows()
    .add({ unit: 'example.net/!acme/mod', key: 'v/v1.2.3', files: [file('info', 78), file('mod', 312), file('zip', 198_112)] })
    .as('go', 'a Go module, its path as the proxy protocol escapes it')
}

function helm(): Item {
  const chart = { apiVersion: 'v2', name: 'acme-web', version: '15.0.0', appVersion: '1.25.3', dependencies: [{ name: 'common', version: '2.x.x', repository: 'oci://registry.example.net/charts' }] }
  return new ItemRows()
    .add({ unit: 'acme-web', key: 'v/15.0.0', meta: json(chart), files: [file('chart', 42_118), file('provenance', 967, 'prov')] })
    .as('helm', 'a Helm chart with its provenance file')
}

export const ITEMS: readonly Item[] = [npm(), docker(), debian(), rpm(), nuget(), asset(), pypi(), maven(), cargo(), go(), helm()]
