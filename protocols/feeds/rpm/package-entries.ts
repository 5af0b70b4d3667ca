/**
 * The elements of a package in `primary.xml`, `filelists.xml` and `other.xml`, as createrepo_c writes them.
 * https://rpm-software-management.github.io/createrepo_c/
 */

import { type Dependency, isPrimaryFile } from './dependencies.ts'
import { packagePath, type StoredPackage, sha256Of } from './format.ts'
import type { PackageMeta } from './meta.ts'
import type { PackageFile } from './package-info.ts'
import { DEPENDENCY_KINDS } from './tags.ts'

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#13;',
  '\n': '&#10;',
  '\t': '&#9;',
}

/** What XML cannot hold at all is left out. */
function clean(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are what is looked for
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '').toWellFormed()
}

function escapeText(text: string): string {
  return clean(text).replace(/[&<>\r]/g, (character) => ESCAPES[character] ?? '')
}

function escapeValue(text: string): string {
  return clean(text).replace(/[&<>"\r\n\t]/g, (character) => ESCAPES[character] ?? '')
}

function element(name: string, text: string): string {
  return `<${name}>${escapeText(text)}</${name}>`
}

/** `[epoch:]version[-release]`, as attributes. */
function renderVersion(version: string): string {
  const [, epoch = '', rest = ''] = /^(?:(\d*):)?(.*)$/s.exec(version) ?? []
  const dash = rest.indexOf('-')
  const [ver, rel] = dash === -1 ? [rest, ''] : [rest.slice(0, dash), rest.slice(dash + 1)]
  const told = [`epoch="${Number(epoch)}"`, `ver="${escapeValue(ver)}"`]
  return [...told, ...(rel === '' ? [] : [`rel="${escapeValue(rel)}"`])].join(' ')
}

function renderDependency({ name, flags, version, pre }: Dependency): string {
  const compared = flags === undefined ? '' : ` flags="${flags}"`
  const to = flags === undefined || version === undefined ? '' : ` ${renderVersion(version)}`
  return `      <rpm:entry name="${escapeValue(name)}"${compared}${to}${pre === true ? ' pre="1"' : ''}/>\n`
}

function renderDependencies({ dependencies }: PackageMeta): string {
  return DEPENDENCY_KINDS.filter((kind) => dependencies[kind].length > 0)
    .map((kind) => `    <rpm:${kind}>\n${dependencies[kind].map(renderDependency).join('')}    </rpm:${kind}>\n`)
    .join('')
}

function renderFile({ folder, name, type }: PackageFile): string {
  return `<file${type === '' ? '' : ` type="${type}"`}>${escapeText(folder + name)}</file>\n`
}

/** Source packages are of one kind here. */
function archOf({ identity }: StoredPackage): string {
  return identity.arch === 'nosrc' ? 'src' : identity.arch
}

function renderIdentityVersion({ identity: { epoch, version, release } }: StoredPackage): string {
  return `<version epoch="${epoch}" ver="${version}" rel="${release}"/>`
}

export function renderPrimary(stored: StoredPackage, meta: PackageMeta): string {
  const { identity, file, row } = stored
  const { texts } = meta
  const files = meta.files.filter(({ folder, name }) => isPrimaryFile(folder + name))
  return `<package type="rpm">
  <name>${identity.name}</name>
  <arch>${archOf(stored)}</arch>
  ${renderIdentityVersion(stored)}
  <checksum type="sha256" pkgid="YES">${sha256Of(file)}</checksum>
  ${element('summary', texts.summary)}
  ${element('description', texts.description)}
  ${element('packager', texts.packager)}
  ${element('url', texts.url)}
  <time file="${Math.floor(row.writtenAtMs / 1000)}" build="${meta.builtAt}"/>
  <size package="${file.size}" installed="${meta.installedBytes}" archive="${meta.archiveBytes}"/>
  <location href="${escapeValue(packagePath(identity))}"/>
  <format>
    ${element('rpm:license', texts.license)}
    ${element('rpm:vendor', texts.vendor)}
    ${element('rpm:group', texts.group)}
    ${element('rpm:buildhost', texts.buildHost)}
    ${element('rpm:sourcerpm', texts.sourceRpm)}
    <rpm:header-range start="${meta.headerStart}" end="${meta.headerEnd}"/>
${renderDependencies(meta)}${files.map((one) => `    ${renderFile(one)}`).join('')}  </format>
</package>
`
}

function renderHead(stored: StoredPackage): string {
  const id = `pkgid="${sha256Of(stored.file)}" name="${stored.identity.name}" arch="${archOf(stored)}"`
  return `<package ${id}>\n  ${renderIdentityVersion(stored)}\n`
}

export function renderFilelist(stored: StoredPackage, { files }: PackageMeta): string {
  return `${renderHead(stored)}${files.map((one) => `  ${renderFile(one)}`).join('')}</package>\n`
}

export function renderOther(stored: StoredPackage, { changelog }: PackageMeta): string {
  const entries = changelog.map(
    ({ author, time, text }) =>
      `  <changelog author="${escapeValue(author)}" date="${time}">${escapeText(text)}</changelog>\n`,
  )
  return `${renderHead(stored)}${entries.join('')}</package>\n`
}
