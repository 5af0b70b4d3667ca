/** What a package says of others, as createrepo_c lists it: some requirements are left out. */

import { badRpm, type RpmHeader } from './header.ts'
import { DEPENDENCY_TAGS, type DependencyKind } from './tags.ts'

export interface Dependency {
  readonly name: string
  /** LT, GT, EQ, LE or GE. */
  readonly flags?: string
  /** `[epoch:]version[-release]` */
  readonly version?: string
  /** Needed before scripts run. */
  readonly pre?: true
}

const COMPARISONS: Readonly<Record<number, string>> = { 2: 'LT', 4: 'GT', 8: 'EQ', 10: 'LE', 12: 'GE' }
const COMPARISON_BITS = 0x0e
/** PREREQ, SCRIPT_PRE, SCRIPT_POST. */
const BEFORE_SCRIPTS = (1 << 6) | (1 << 9) | (1 << 10)

/** Whether `primary.xml` lists the file, too, so that most clients need no other list. */
export function isPrimaryFile(path: string): boolean {
  return path.startsWith('/etc/') || path === '/usr/lib/sendmail' || path.includes('bin/')
}

/** @param paths of the package's own files. @throws BAD_PACKAGE */
export function readDependencies(
  header: RpmHeader,
  paths: ReadonlySet<string>,
): Readonly<Record<DependencyKind, readonly Dependency[]>> {
  const provides = readStated(header, 'provides')
  const isOwn = createOwnCheck(new Set(provides.map(textOf)), paths)
  return {
    provides,
    requires: chooseRequirements(readStated(header, 'requires').filter((one) => !isOwn(one))),
    conflicts: readStated(header, 'conflicts'),
    obsoletes: readStated(header, 'obsoletes'),
    suggests: readStated(header, 'suggests'),
    enhances: readStated(header, 'enhances'),
    recommends: readStated(header, 'recommends'),
    supplements: readStated(header, 'supplements'),
  }
}

function readStated(header: RpmHeader, kind: DependencyKind): Dependency[] {
  const [nameTag, flagsTag, versionTag] = DEPENDENCY_TAGS[kind]
  const names = header.strings(nameTag)
  const senses = header.numbers(flagsTag)
  const versions = header.strings(versionTag)
  if (senses.length !== names.length || versions.length !== names.length)
    throw badRpm(`what it ${kind} does not fit together`)
  return names.flatMap((name, at) => {
    const [sense = 0, version = ''] = [senses[at], versions[at]]
    // Clients take no epoch that is not a number.
    if (name === '' || /^[^:]*[^:\d][^:]*:/.test(version)) return []
    const flags = COMPARISONS[sense & COMPARISON_BITS]
    const isBefore = kind === 'requires' && (sense & BEFORE_SCRIPTS) !== 0
    return [
      {
        name,
        ...(flags === undefined ? {} : { flags }),
        ...(flags === undefined || version === '' ? {} : { version }),
        ...(isBefore ? { pre: true } : {}),
      },
    ]
  })
}

/** Without when it is needed. */
function textOf({ name, flags, version }: Dependency): string {
  return JSON.stringify([name, flags, version])
}

/** What a package itself provides in the very words in which it requires it, or has as a file, need not be looked for. */
function createOwnCheck(provided: ReadonlySet<string>, paths: ReadonlySet<string>): (one: Dependency) => boolean {
  return (one) => {
    const { name } = one
    if (name.startsWith('rpmlib(') || provided.has(textOf(one))) return true
    return name.startsWith('/') && isPrimaryFile(name) && paths.has(name)
  }
}

/** Nothing twice; of libc's symbol versions the newest stands for all, at the end. */
function chooseRequirements(stated: readonly Dependency[]): Dependency[] {
  const lastOf = new Map<string, string>()
  const chosen: Dependency[] = []
  let libc: Dependency | undefined
  for (const one of stated) {
    const text = JSON.stringify(one)
    if (lastOf.get(one.name) === text) continue
    if (one.name.startsWith('libc.so.6')) {
      if (libc === undefined || isNewerLibc(one.name, libc.name)) libc = one
      continue
    }
    lastOf.set(one.name, text)
    chosen.push(one)
  }
  return libc === undefined ? chosen : [...chosen, libc]
}

/** `libc.so.6(GLIBC_2.34)(64bit)`: by its numbers. */
function isNewerLibc(a: string, b: string): boolean {
  const [x, y] = [numbersOf(a), numbersOf(b)]
  for (let at = 0; at < Math.max(x.length, y.length); at += 1) {
    const difference = (x[at] ?? 0) - (y[at] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return false
}

function numbersOf(name: string): number[] {
  const [, version = ''] = /\(GLIBC_([\d.]+)\)/.exec(name) ?? []
  return version.split('.').map(Number)
}
