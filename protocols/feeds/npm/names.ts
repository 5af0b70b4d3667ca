/**
 * Rules for package names, versions and tags.
 * https://github.com/npm/validate-npm-package-name · https://docs.npmjs.com/cli/commands/npm-dist-tag
 */

import { builtinModules } from 'node:module'
import semver from 'semver'
import { FeedmeshError } from '../../../src/errors.ts'

const MAX_NAME_LENGTH = 214
const MAX_VERSION_LENGTH = 256
const MAX_TAG_LENGTH = 128
const RESERVED = new Set(['node_modules', 'favicon.ico'])

/** Whether something can have been published under `name` by any rules npm ever had; others are not looked up. */
export function isPackageName(name: string): boolean {
  if (name.length === 0 || name.length > MAX_NAME_LENGTH || RESERVED.has(name.toLowerCase())) return false
  const scoped = /^@([^/]+)\/([^/]+)$/.exec(name)
  const parts = scoped === null ? [name] : scoped.slice(1)
  return parts.every((part) => !/^[._-]/.test(part) && encodeURIComponent(part) === part)
}

/** The rules for packages that are published for the first time. @throws BAD_INPUT */
export function verifyNewName(name: string): void {
  const refuse = (rule: string) =>
    new FeedmeshError('BAD_INPUT', `Invalid package name ${JSON.stringify(name)}: ${rule}`)
  if (name.length > MAX_NAME_LENGTH) throw refuse(`a name has at most ${MAX_NAME_LENGTH} characters`)
  if (!isPackageName(name)) throw refuse('a name has URL-safe characters only and does not start with ".", "_" or "-"')
  if (name !== name.toLowerCase()) throw refuse('a name has no capital letters')
  if (/[~'!()*]/.test(baseName(name))) throw refuse("a name has none of the characters ~'!()*")
  if (builtinModules.includes(name)) throw refuse('it is the name of a Node.js core module')
}

/** @throws BAD_INPUT unless `version` is SemVer in its canonical spelling. */
export function parseVersion(version: unknown): string {
  const canonical = typeof version === 'string' && version.length <= MAX_VERSION_LENGTH ? semver.valid(version) : null
  if (canonical === null || canonical !== version) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `Invalid version ${JSON.stringify(version)?.slice(0, 300)}: it must be SemVer, as 1.2.3`,
    )
  }
  return canonical
}

/** @throws BAD_INPUT; a tag that reads as a version range would make `npm install name@tag` ambiguous. */
export function parseTag(tag: string): string {
  if (semver.validRange(tag) !== null) {
    throw new FeedmeshError('BAD_INPUT', `Tag name must not be a valid SemVer range: ${tag.slice(0, MAX_TAG_LENGTH)}`)
  }
  if (tag.length > MAX_TAG_LENGTH || encodeURIComponent(tag) !== tag) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `Invalid tag ${JSON.stringify(tag.slice(0, 300))}: up to ${MAX_TAG_LENGTH} URL-safe characters`,
    )
  }
  return tag
}

/** The name without its scope. */
export function baseName(name: string): string {
  return name.slice(name.indexOf('/') + 1)
}

/** The conventional file name, which lockfiles rely on. */
export function tarballName(name: string, version: string): string {
  return `${baseName(name)}-${version}.tgz`
}

/** The version in a tarball's file name, with or without the scope in front of it. */
export function findTarballVersion(name: string, file: string): string | undefined {
  const scope = name.slice(0, name.length - baseName(name).length)
  const bare = scope !== '' && file.startsWith(scope) ? file.slice(scope.length) : file
  const prefix = `${baseName(name)}-`
  if (!bare.startsWith(prefix) || !bare.endsWith('.tgz')) return undefined
  const version = bare.slice(prefix.length, -'.tgz'.length)
  return semver.valid(version) === version ? version : undefined
}
