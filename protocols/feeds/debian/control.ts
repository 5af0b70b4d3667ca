/** Control data of binary packages. https://www.debian.org/doc/debian-policy/ch-controlfields.html */

import { FeedmeshError } from '../../../src/errors.ts'

export const MAX_CONTROL_BYTES = 1024 ** 2

/** One paragraph. Names of fields are in lower case here. */
export interface Paragraph {
  /** Whole fields as they are written, each with its continuation lines, without the last line feed. */
  readonly fields: ReadonlyMap<string, string>
}

export interface PackageControl extends Paragraph {
  readonly package: string
  readonly version: string
  readonly architecture: string
}

/** What the index adds; a package that brings them could name other files than itself. */
const ADDED_FIELDS = ['filename', 'size', 'md5sum', 'sha1', 'sha256', 'sha512']

const PACKAGE = /^[a-z0-9][a-z0-9+.-]{1,127}$/
const VERSION = /^(?:\d{1,9}:)?[0-9A-Za-z][0-9A-Za-z.+~]*(?:-[0-9A-Za-z.+~]+)*$/
const ARCHITECTURE = /^[a-z0-9][a-z0-9-]{0,31}$/

function bad(reason: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the control data cannot be used: ${reason}`)
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}

/** @throws BAD_PACKAGE unless it is exactly one paragraph */
export function parseParagraph(text: string): Paragraph {
  const fields = new Map<string, string>()
  let last: string | undefined
  for (const line of text.replace(/\n*$/, '').split('\n')) {
    if (/[\0\r]/.test(line)) throw bad(`a line has a control character: ${shown(line)}`)
    if (/^[ \t]+\S/.test(line)) {
      if (last === undefined) throw bad('it begins with a continuation line')
      fields.set(last, `${fields.get(last)}\n${line}`)
      continue
    }
    const name = /^([!-9;-~]+):/.exec(line)?.[1]
    if (name === undefined || name.startsWith('#') || name.startsWith('-'))
      throw bad(line.trim() === '' ? 'it has more than one paragraph' : `it has the line ${shown(line)}`)
    last = name.toLowerCase()
    if (fields.has(last)) throw bad(`it has the field ${name} twice`)
    fields.set(last, line)
  }
  return { fields }
}

/** The value of a field, lines joined as they stand; undefined where there is none. */
export function findField({ fields }: Paragraph, name: string): string | undefined {
  return fields
    .get(name)
    ?.slice(name.length + 1)
    .trim()
}

function getField(paragraph: Paragraph, name: string, pattern: RegExp): string {
  const value = findField(paragraph, name)
  if (value === undefined) throw bad(`it has no field ${name}`)
  if (!pattern.test(value)) throw bad(`its field ${name} is ${shown(value)}`)
  return value
}

/** @throws BAD_PACKAGE */
export function parseControl(text: string): PackageControl {
  const paragraph = parseParagraph(text)
  const added = ADDED_FIELDS.find((name) => paragraph.fields.has(name))
  if (added !== undefined) throw bad(`the field ${added} belongs to the index, not into a package`)
  return {
    ...paragraph,
    package: getField(paragraph, 'package', PACKAGE),
    version: getField(paragraph, 'version', VERSION),
    architecture: getField(paragraph, 'architecture', ARCHITECTURE),
  }
}
