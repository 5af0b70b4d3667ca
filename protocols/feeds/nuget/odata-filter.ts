/**
 * `$filter` of OData 2 as far as package clients use it: and, or, not, comparisons, and the functions of texts.
 * https://www.odata.org/documentation/odata-version-2-0/uri-conventions (section 4.5)
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { comparePackageVersions, findPackageVersion } from './package-version.ts'

export type ODataValue = string | number | boolean | null
/** The value of a property of the row that is looked at. */
export type ReadProperty = (name: string) => ODataValue

export interface ODataFilter {
  readonly isMatch: (read: ReadProperty) => boolean
  /** Rows that match all have this id, in lower case. */
  readonly id: string | undefined
}

interface Node {
  readonly evaluate: (read: ReadProperty) => ODataValue
  /** The property that the node reads, lower-cased or not. */
  readonly property?: string
  readonly literal?: ODataValue
  readonly id?: string
}

interface Token {
  readonly kind: 'text' | 'number' | 'name' | 'sign' | 'end'
  readonly text: string
}

const MAX_FILTER_LENGTH = 4096
const MAX_DEPTH = 40
const TOKEN = /\s*(?:'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)[LlMmFfDd]?(?![\w])|([A-Za-z_][\w/]*)|([(),]))/y
const OPERATORS: Readonly<Record<string, (order: number) => boolean>> = {
  eq: (order) => order === 0,
  ne: (order) => order !== 0,
  gt: (order) => order > 0,
  ge: (order) => order >= 0,
  lt: (order) => order < 0,
  le: (order) => order <= 0,
}
const FUNCTIONS: Readonly<Record<string, readonly [number, (...texts: readonly string[]) => ODataValue]>> = {
  tolower: [1, (text = '') => text.toLowerCase()],
  toupper: [1, (text = '') => text.toUpperCase()],
  trim: [1, (text = '') => text.trim()],
  length: [1, (text = '') => text.length],
  substringof: [2, (part = '', text = '') => text.includes(part)],
  startswith: [2, (text = '', part = '') => text.startsWith(part)],
  endswith: [2, (text = '', part = '') => text.endsWith(part)],
  indexof: [2, (text = '', part = '') => text.indexOf(part)],
  concat: [2, (text = '', part = '') => text + part],
}

/** @throws BAD_INPUT */
export function parseODataFilter(text: string, isProperty: (name: string) => boolean): ODataFilter {
  if (text.length > MAX_FILTER_LENGTH) throw malformed(`it has more than ${MAX_FILTER_LENGTH} characters`)
  const parser = new FilterParser(tokenize(text), isProperty)
  const root = parser.parse()
  return { isMatch: (read) => root.evaluate(read) === true, id: root.id }
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  while (text.slice(TOKEN.lastIndex).trim() !== '') {
    const at = TOKEN.lastIndex
    const match = TOKEN.exec(text)
    if (match === null) throw malformed(`it cannot be read at ${JSON.stringify(text.slice(at, at + 40))}`)
    const [, quoted, number, name, sign] = match
    if (quoted !== undefined) tokens.push({ kind: 'text', text: quoted.replaceAll("''", "'") })
    else if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (name !== undefined) tokens.push({ kind: 'name', text: name })
    else tokens.push({ kind: 'sign', text: sign ?? '' })
  }
  return tokens
}

class FilterParser {
  readonly #tokens: readonly Token[]
  readonly #isProperty: (name: string) => boolean
  #at = 0
  #depth = 0

  constructor(tokens: readonly Token[], isProperty: (name: string) => boolean) {
    this.#tokens = tokens
    this.#isProperty = isProperty
  }

  parse(): Node {
    const node = this.#parseOr()
    const rest = this.#peek()
    if (rest.kind !== 'end') throw malformed(`${JSON.stringify(rest.text.slice(0, 40))} is too much`)
    return node
  }

  #parseOr(): Node {
    this.#depth += 1
    if (this.#depth > MAX_DEPTH) throw malformed('it is nested too deeply')
    let left = this.#parseAnd()
    while (this.#takeName('or')) {
      const [a, b] = [left, this.#parseAnd()]
      left = { evaluate: (read) => asBoolean(a.evaluate(read)) || asBoolean(b.evaluate(read)) }
    }
    this.#depth -= 1
    return left
  }

  #parseAnd(): Node {
    let left = this.#parseNot()
    while (this.#takeName('and')) {
      const [a, b] = [left, this.#parseNot()]
      const id = a.id ?? b.id
      left = {
        evaluate: (read) => asBoolean(a.evaluate(read)) && asBoolean(b.evaluate(read)),
        ...(id === undefined ? {} : { id }),
      }
    }
    return left
  }

  #parseNot(): Node {
    let isNegated = false
    let count = 0
    while (this.#takeName('not')) {
      isNegated = !isNegated
      count += 1
    }
    const node = this.#parseComparison()
    if (count === 0) return node
    return { evaluate: (read) => asBoolean(node.evaluate(read)) !== isNegated }
  }

  #parseComparison(): Node {
    const left = this.#parseOperand()
    const operator = this.#peek()
    const isTrue = Object.hasOwn(OPERATORS, operator.text) ? OPERATORS[operator.text] : undefined
    if (operator.kind !== 'name' || isTrue === undefined) return left
    this.#at += 1
    const right = this.#parseOperand()
    const order = isVersion(left) || isVersion(right) ? orderVersions : orderValues
    const id = operator.text === 'eq' ? (idOf(left, right) ?? idOf(right, left)) : undefined
    return {
      evaluate: (read) => isTrue(order(left.evaluate(read), right.evaluate(read))),
      ...(id === undefined ? {} : { id }),
    }
  }

  #parseOperand(): Node {
    const token = this.#peek()
    this.#at += 1
    if (token.kind === 'text') return constant(token.text)
    if (token.kind === 'number') return constant(Number(token.text))
    if (token.kind === 'sign' && token.text === '(') {
      const inside = this.#parseOr()
      this.#expect(')')
      return inside
    }
    if (token.kind !== 'name') throw malformed(token.kind === 'end' ? 'it ends too early' : `${token.text} is too much`)
    return this.#parseNamed(token.text)
  }

  #parseNamed(name: string): Node {
    if (name === 'true' || name === 'false') return constant(name === 'true')
    if (name === 'null') return constant(null)
    const next = this.#peek()
    if (name === 'datetime' && next.kind === 'text') {
      this.#at += 1
      const time = Date.parse(/Z$|[+-]\d\d:\d\d$/.test(next.text) ? next.text : `${next.text}Z`)
      if (Number.isNaN(time)) throw malformed(`${JSON.stringify(next.text.slice(0, 40))} is no time`)
      return constant(time)
    }
    if (next.kind === 'sign' && next.text === '(') return this.#parseCall(name)
    if (!this.#isProperty(name)) throw malformed(`there is no property ${JSON.stringify(name.slice(0, 60))}`)
    return { evaluate: (read) => read(name), property: name }
  }

  #parseCall(name: string): Node {
    const found = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
    if (found === undefined) throw malformed(`there is no function ${JSON.stringify(name.slice(0, 60))}`)
    const [count, call] = found
    this.#expect('(')
    const given: Node[] = []
    do given.push(this.#parseOr())
    while (this.#takeSign(','))
    this.#expect(')')
    if (given.length !== count) throw malformed(`${name} takes ${count} values, not ${given.length}`)
    const [only] = given
    const property = name === 'tolower' || name === 'toupper' ? only?.property : undefined
    return {
      evaluate: (read) => call(...given.map((one) => String(one.evaluate(read) ?? ''))),
      ...(property === undefined ? {} : { property }),
    }
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '' }
  }

  #takeName(name: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'name' || token.text !== name) return false
    this.#at += 1
    return true
  }

  #takeSign(sign: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'sign' || token.text !== sign) return false
    this.#at += 1
    return true
  }

  #expect(sign: string): void {
    if (!this.#takeSign(sign)) throw malformed(`a ${sign} is missing`)
  }
}

function constant(value: ODataValue): Node {
  return { evaluate: () => value, literal: value }
}

function isVersion({ property }: Node): boolean {
  return property === 'Version' || property === 'NormalizedVersion'
}

function idOf({ property }: Node, { literal }: Node): string | undefined {
  return property === 'Id' && typeof literal === 'string' ? literal.toLowerCase() : undefined
}

/** NaN, of which no comparison but `ne` is true, for values that have no order. */
function orderValues(a: ODataValue, b: ODataValue): number {
  if (a === b) return 0
  if (a === null || b === null || typeof a !== typeof b) return Number.NaN
  return a < b ? -1 : 1
}

function orderVersions(a: ODataValue, b: ODataValue): number {
  const [x, y] = [a, b].map((value) => (typeof value === 'string' ? findPackageVersion(value) : undefined))
  return x === undefined || y === undefined ? orderValues(a, b) : comparePackageVersions(x, y)
}

function asBoolean(value: ODataValue): boolean {
  if (typeof value === 'boolean') return value
  throw malformed('and, or and not take conditions')
}

function malformed(why: string): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', `the $filter cannot be understood: ${why}`)
}
