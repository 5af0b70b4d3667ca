/** .changes files, which end an upload of dput. https://www.debian.org/doc/debian-policy/ch-controlfields.html#debian-changes-files-changes */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import { findField, parseParagraph } from './control.ts'
import { debName, listPackages, type Placement, sha256Of } from './format.ts'

export const MAX_CHANGES_BYTES = 1024 ** 2

export interface ChangedFile {
  readonly sha256: string
  readonly size: number
  readonly name: string
}

function bad(reason: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the .changes file cannot be used: ${reason}`)
}

/** The text within an OpenPGP signature, RFC 9580 section 7. Signatures of uploaders are not checked: keys of the feed decide who may publish. */
function withoutSignature(text: string): string {
  if (!text.startsWith('-----BEGIN PGP SIGNED MESSAGE-----')) return text
  const start = text.indexOf('\n\n')
  const end = text.indexOf('\n-----BEGIN PGP SIGNATURE-----')
  if (start === -1 || end < start) throw bad('its signature is cut off')
  return text.slice(start + 2, end + 1).replaceAll(/^- /gm, '')
}

/** @throws BAD_PACKAGE */
export function parseChanges(bytes: Uint8Array): readonly ChangedFile[] {
  const text = Buffer.from(bytes).toString('utf8')
  const paragraph = parseParagraph(withoutSignature(text))
  const sums = findField(paragraph, 'checksums-sha256')
  if (sums === undefined) throw bad('it has no field Checksums-Sha256')
  return sums.split('\n').flatMap((line) => {
    if (line.trim() === '') return []
    const [, sha256, size, name] =
      /^([0-9a-f]{64})\s+(\d{1,15})\s+([A-Za-z0-9][A-Za-z0-9.+~_:%-]*)$/.exec(line.trim()) ?? []
    if (sha256 === undefined || name === undefined) throw bad(`it has the line ${JSON.stringify(line.slice(0, 120))}`)
    return [{ sha256, size: Number(size), name }]
  })
}

/** What is named, but not kept: how a package was built says its builder, not the repository. */
function isAccompanying(name: string): boolean {
  return name.endsWith('.buildinfo')
}

/** Whether every package that is named is there, as it is named. @throws BAD_PACKAGE */
export async function verifyChanges(feed: Feed, place: Placement, files: readonly ChangedFile[]): Promise<void> {
  const packages = files.filter(({ name }) => !isAccompanying(name))
  if (packages.length === 0) throw bad('it names no package')
  for (const file of packages) {
    if (!file.name.endsWith('.deb')) throw bad(`it names ${file.name}; this feed takes binary packages (.deb) only`)
    const unit = await feed.findUnit(file.name.split('_', 1)[0] ?? '')
    const found = listPackages(unit).find(
      ({ key, file: stored }) =>
        key.suite === place.suite &&
        key.component === place.component &&
        sha256Of(stored) === file.sha256 &&
        stored.size === file.size &&
        file.name === debName(unit?.unit ?? '', key),
    )
    if (found === undefined)
      throw bad(
        `it names ${file.name} with the digest ${file.sha256}, which was not uploaded to ${place.suite}/${place.component} before it`,
      )
  }
}
