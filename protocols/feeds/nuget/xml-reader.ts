/**
 * XML in, as much of it as manifests use: elements, attributes, text, CDATA; comments and processing instructions are passed
 * over, and nothing can be declared. https://www.w3.org/TR/xml/
 */

import { FeedmeshError } from '../../../src/errors.ts'

export interface XmlElement {
  /** Without a prefix. */
  readonly name: string
  /** By name without a prefix. */
  readonly attributes: ReadonlyMap<string, string>
  /** All text directly in it. */
  readonly text: string
  readonly children: readonly XmlElement[]
}

interface OpenElement extends XmlElement {
  readonly tag: string
  text: string
  readonly children: XmlElement[]
}

const MAX_DEPTH = 32
const NAME = '[^\\s/>=<"\']+'
const VALUE = '"[^"<]*"|\'[^\'<]*\''
const START_TAG = new RegExp(`<(${NAME})((?:\\s+${NAME}\\s*=\\s*(?:${VALUE}))*)\\s*(/?)>`, 'y')
const ATTRIBUTE = new RegExp(`(${NAME})\\s*=\\s*(${VALUE})`, 'g')
const NO_ATTRIBUTES: ReadonlyMap<string, string> = new Map()
const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** The root element. @throws BAD_INPUT when tags do not match, elements are nested too deeply, or something is declared */
export function parseXml(text: string): XmlElement {
  const reader = new XmlReader(text)
  return reader.read()
}

class XmlReader {
  readonly #text: string
  readonly #open: OpenElement[] = []
  #at = 0
  #root: OpenElement | undefined

  constructor(text: string) {
    this.#text = text
  }

  read(): XmlElement {
    for (;;) {
      const tagAt = this.#text.indexOf('<', this.#at)
      this.#addText(this.#text.slice(this.#at, tagAt === -1 ? this.#text.length : tagAt))
      if (tagAt === -1) break
      this.#at = tagAt
      this.#readMarkup()
    }
    if (this.#root === undefined || this.#open.length > 0) throw malformed('it ends within an element')
    return this.#root
  }

  #readMarkup(): void {
    const next = this.#text[this.#at + 1]
    if (next === '/') this.#readEndTag()
    else if (next === '?') this.#take('<?', '?>')
    else if (next !== '!') this.#readStartTag()
    else if (this.#text.startsWith('<!--', this.#at)) this.#take('<!--', '-->')
    else if (this.#text.startsWith('<![CDATA[', this.#at)) this.#addRaw(this.#take('<![CDATA[', ']]>'))
    else throw malformed('it declares something')
  }

  #take(start: string, end: string): string {
    const from = this.#at + start.length
    const to = this.#text.indexOf(end, from)
    if (to === -1) throw malformed(`${end} is missing`)
    this.#at = to + end.length
    return this.#text.slice(from, to)
  }

  #readStartTag(): void {
    START_TAG.lastIndex = this.#at
    const match = START_TAG.exec(this.#text)
    if (match === null) throw malformed(`a tag cannot be read: ${shown(this.#text.slice(this.#at, this.#at + 60))}`)
    const [whole, tag = '', attributes = '', slash] = match
    this.#at += whole.length
    const element = {
      tag,
      name: localName(tag),
      attributes: attributes === '' ? NO_ATTRIBUTES : readAttributes(attributes),
      text: '',
      children: [],
    }
    const parent = this.#open.at(-1)
    if (parent !== undefined) parent.children.push(element)
    else if (this.#root !== undefined) throw malformed('it has more than one root')
    else this.#root = element
    if (slash === '/') return
    if (this.#open.length >= MAX_DEPTH) throw malformed(`its elements are nested more than ${MAX_DEPTH} deep`)
    this.#open.push(element)
  }

  #readEndTag(): void {
    const tag = this.#take('</', '>').trimEnd()
    const element = this.#open.pop()
    if (element?.tag !== tag) throw malformed(`</${tag.slice(0, 60)}> ends what did not begin`)
  }

  #addText(text: string): void {
    if (text === '') return
    if (this.#open.length === 0 && text.trim() !== '') throw malformed('it has text outside its root')
    this.#addRaw(decodeEntities(text))
  }

  #addRaw(text: string): void {
    const element = this.#open.at(-1)
    if (element !== undefined) element.text += text
  }
}

function readAttributes(text: string): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>()
  for (const [, name = '', value = ''] of text.matchAll(ATTRIBUTE))
    attributes.set(localName(name), decodeEntities(value.slice(1, -1)))
  return attributes
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1)
}

/** What names nothing stays as it is. */
function decodeEntities(text: string): string {
  if (!text.includes('&')) return text
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,4}));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return Object.hasOwn(NAMED, name) ? (NAMED[name] ?? whole) : whole
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

function shown(text: string): string {
  return JSON.stringify(text)
}

function malformed(why: string): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', `not well-formed XML: ${why}`)
}
