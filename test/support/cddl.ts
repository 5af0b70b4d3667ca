/**
 * Reads the part of CDDL (RFC 8610) that the schemas of `protocols/mesh` are written in, into the same one-line form that a
 * shape of the code renders to: so that the two can be compared whole, limits included.
 */

import type { ShapeForm } from '../../src/catalog/cbor.ts'

export function renderForm(form: ShapeForm): string {
  switch (form.type) {
    case 'uint':
      return `uint<=${form.max}`
    case 'bytes':
      return `bytes ${form.min}..${form.max}`
    case 'text':
      return `text<=${form.max}`
    case 'bool':
    case 'null':
      return form.type
    case 'word':
      return `word(${form.words.join(' ')})`
    case 'list':
      return `[<=${form.max} ${renderForm(form.item)}]`
    case 'nullable':
      return `(${renderForm(form.inner)} or null)`
    case 'record':
    case 'oneOf':
      return renderFields(
        form.type,
        Object.entries(form.fields).map(([name, [key, inner]]) => [key, name, renderForm(inner)]),
      )
  }
}

type Field = readonly [key: number, name: string, form: string]

function renderFields(type: 'record' | 'oneOf', fields: readonly Field[]): string {
  const sorted = [...fields].sort(([a], [b]) => a - b).map(([key, name, form]) => `${key} ${name}: ${form}`)
  return `${type}{${sorted.join('; ')}}`
}

const TOKEN = /;[^\n]*|\n|&\(|\.(?:size|le)\b|\.\.|[a-z][a-z0-9-]*|\d+|[{}[\]():,/=*]|\s+/gy

function tokenize(source: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < source.length) {
    const at = TOKEN.lastIndex
    const found = TOKEN.exec(source)
    if (found === null) throw new SyntaxError(`CDDL: unreadable at ${JSON.stringify(source.slice(at, at + 20))}`)
    const [token] = found
    if (token === '\n' || token.trim() !== '') tokens.push(token)
  }
  return tokens
}

interface Variant {
  readonly tag: number
  readonly form: string
}

class Parser {
  readonly #tokens: readonly string[]
  #at = 0
  readonly #rules: Map<string, () => string>
  readonly variants = new Map<string, Variant>()

  constructor(tokens: readonly string[], rules: Map<string, () => string>) {
    this.#tokens = tokens
    this.#rules = rules
  }

  get isDone(): boolean {
    this.#skip()
    return this.#at >= this.#tokens.length
  }

  #skip(): void {
    while (this.#peekRaw() === '\n' || this.#peekRaw()?.startsWith(';') === true) this.#at += 1
  }

  #peekRaw(): string | undefined {
    return this.#tokens[this.#at]
  }

  #peek(): string | undefined {
    this.#skip()
    return this.#peekRaw()
  }

  #next(): string {
    const token = this.#peek()
    if (token === undefined) throw new SyntaxError('CDDL: cut off')
    this.#at += 1
    return token
  }

  #expect(token: string): void {
    const got = this.#next()
    if (got !== token) throw new SyntaxError(`CDDL: ${token} expected, not ${got}`)
  }

  #accept(token: string): boolean {
    if (this.#peek() !== token) return false
    this.#at += 1
    return true
  }

  /** The name of the rule that follows; its text is read when it is asked for. */
  rule(): { readonly name: string; readonly read: () => string } {
    const name = this.#next()
    this.#expect('=')
    const start = this.#at
    this.#type(name, true)
    return { name, read: () => this.#reread(start, name) }
  }

  #reread(start: number, name: string): string {
    const before = this.#at
    this.#at = start
    const form = this.#type(name, false)
    this.#at = before
    return form
  }

  /** With `isSkim` names are not looked up. */
  #type(rule: string, isSkim: boolean): string {
    const choices = [this.#single(rule, isSkim)]
    while (this.#accept('/')) choices.push(this.#single(rule, isSkim))
    if (choices.length === 2 && choices[1]?.form === 'null') return `(${choices[0]?.form} or null)`
    if (choices.length === 1 && !choices[0]!.name.startsWith(`${rule}-`)) return choices[0]!.form
    return isSkim ? '' : this.#oneOf(rule, choices)
  }

  #oneOf(rule: string, choices: readonly { readonly name: string }[]): string {
    const fields = choices.map(({ name }): Field => {
      const variant = this.variants.get(name)
      if (variant === undefined || !name.startsWith(`${rule}-`))
        throw new SyntaxError(`CDDL: ${name} is no variant of ${rule}`)
      return [variant.tag, name.slice(rule.length + 1), variant.form]
    })
    return renderFields('oneOf', fields)
  }

  #single(rule: string, isSkim: boolean): { readonly name: string; readonly form: string } {
    const token = this.#next()
    if (token === '{') return { name: '', form: this.#map(rule, isSkim) }
    if (token === '[') return { name: '', form: this.#list(rule, isSkim) }
    if (token === '&(') return { name: '', form: this.#words() }
    if (token === 'null' || token === 'bool') return { name: '', form: token }
    if (token === 'uint' || token === 'bstr' || token === 'tstr') return { name: '', form: this.#limited(token) }
    if (/^\d+$/.test(token)) {
      if (!this.#accept('..')) return { name: '', form: `literal ${token}` }
      if (token !== '0') throw new SyntaxError('CDDL: ranges begin with 0')
      return { name: '', form: `uint<=${this.#next()}` }
    }
    return { name: token, form: isSkim ? '' : this.#lookUp(token) }
  }

  #lookUp(name: string): string {
    const read = this.#rules.get(name)
    if (read === undefined) throw new SyntaxError(`CDDL: no rule ${name}`)
    return read()
  }

  #limited(type: string): string {
    if (type === 'uint' && this.#accept('.le')) return `uint<=${this.#next()}`
    this.#expect('.size')
    if (this.#accept('(')) {
      const min = this.#next()
      this.#expect('..')
      const max = this.#next()
      this.#expect(')')
      return type === 'tstr' ? `text<=${max}` : `bytes ${min}..${max}`
    }
    const size = this.#next()
    return type === 'uint' ? `uint<=${(1n << (8n * BigInt(size))) - 1n}` : `bytes ${size}..${size}`
  }

  #words(): string {
    const words: string[] = []
    do {
      const word = this.#next()
      this.#expect(':')
      if (this.#next() !== `${words.length}`) throw new SyntaxError(`CDDL: ${word} is not number ${words.length}`)
      words.push(word)
    } while (this.#accept(','))
    this.#expect(')')
    return `word(${words.join(' ')})`
  }

  #list(rule: string, isSkim: boolean): string {
    this.#expect('0')
    this.#expect('*')
    const max = this.#next()
    const item = this.#type(rule, isSkim)
    this.#expect(']')
    return `[<=${max} ${item}]`
  }

  #map(rule: string, isSkim: boolean): string {
    const fields: Field[] = []
    let tag: number | undefined
    while (!this.#accept('}')) {
      const key = Number(this.#next())
      this.#expect(':')
      const form = this.#type('', isSkim)
      this.#expect(',')
      const comment = this.#peekRaw()
      if (key === 0) tag = Number(form.replace('literal ', ''))
      else if (comment?.startsWith(';') !== true) throw new SyntaxError(`CDDL: key ${key} of ${rule} has no name`)
      else fields.push([key, comment.slice(1).trim().split(/\s/)[0] ?? '', form])
    }
    const form = renderFields('record', fields)
    if (tag !== undefined) this.variants.set(rule, { tag, form })
    return form
  }
}

/** Every rule of the schemas, in the form that `renderForm` gives. */
export function readSchemas(sources: readonly string[]): Map<string, string> {
  const rules = new Map<string, () => string>()
  const parser = new Parser(tokenize(sources.join('\n')), rules)
  while (!parser.isDone) {
    const { name, read } = parser.rule()
    if (rules.has(name)) throw new SyntaxError(`CDDL: two rules ${name}`)
    rules.set(name, read)
  }
  // Variants first: choices are made of them.
  for (let round = 0; round < 2; round += 1)
    for (const [name, read] of rules) if (round === 1 || /-.*-/.test(name)) read()
  return new Map([...rules].map(([name, read]) => [name, read()]))
}
