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

/** Known before any row is looked at, so that a filter is refused by an empty feed, too. */
export type ODataType = 'text' | 'number' | 'truth' | 'time'

interface Node {
  /** `none`: null, which goes with everything. */
  readonly type: ODataType | 'none'
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
interface TextFunction {
  /** How many texts it takes. */
  readonly count: number
  readonly type: ODataType
  readonly call: (...texts: readonly string[]) => ODataValue
}

const FUNCTIONS: Readonly<Record<string, TextFunction>> = {
  tolower: { count: 1, type: 'text', call: (text = '') => text.toLowerCase() },
  toupper: { count: 1, type: 'text', call: (text = '') => text.toUpperCase() },
  trim: { count: 1, type: 'text', call: (text = '') => text.trim() },
  length: { count: 1, type: 'number', call: (text = '') => text.length },
  substringof: { count: 2, type: 'truth', call: (part = '', text = '') => text.includes(part) },
  startswith: { count: 2, type: 'truth', call: (text = '', part = '') => text.startsWith(part) },
  endswith: { count: 2, type: 'truth', call: (text = '', part = '') => text.endsWith(part) },
  indexof: { count: 2, type: 'number', call: (text = '', part = '') => text.indexOf(part) },
  concat: { count: 2, type: 'text', call: (text = '', part = '') => text + part },
}

type FindType = (property: string) => ODataType | undefined

/** `findType` knows the properties. @throws BAD_INPUT */
export function parseODataFilter(text: string, findType: FindType): ODataFilter {
  if (text.length > MAX_FILTER_LENGTH) throw malformed(`it has more than ${MAX_FILTER_LENGTH} characters`)
  const parser = new FilterParser(tokenize(text), findType)
  const root = parser.parse()
  verifyCondition(root, 'it')
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
  readonly #findType: FindType
  #at = 0
  #depth = 0

  constructor(tokens: readonly Token[], findType: FindType) {
    this.#tokens = tokens
    this.#findType = findType
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
      for (const side of [a, b]) verifyCondition(side, 'or')
      left = { type: 'truth', evaluate: (read) => a.evaluate(read) === true || b.evaluate(read) === true }
    }
    this.#depth -= 1
    return left
  }

  #parseAnd(): Node {
    let left = this.#parseNot()
    while (this.#takeName('and')) {
      const [a, b] = [left, this.#parseNot()]
      const id = a.id ?? b.id
      for (const side of [a, b]) verifyCondition(side, 'and')
      left = {
        type: 'truth',
        evaluate: (read) => a.evaluate(read) === true && b.evaluate(read) === true,
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
    verifyCondition(node, 'not')
    return { type: 'truth', evaluate: (read) => (node.evaluate(read) === true) !== isNegated }
  }

  #parseComparison(): Node {
    const left = this.#parseOperand()
    const operator = this.#peek()
    const isTrue = Object.hasOwn(OPERATORS, operator.text) ? OPERATORS[operator.text] : undefined
    if (operator.kind !== 'name' || isTrue === undefined) return left
    this.#at += 1
    const right = this.#parseOperand()
    if (left.type !== right.type && left.type !== 'none' && right.type !== 'none')
      throw malformed(`a ${left.type} is compared to a ${right.type}`)
    const order = isVersion(left) || isVersion(right) ? orderVersions : orderValues
    const id = operator.text === 'eq' ? (idOf(left, right) ?? idOf(right, left)) : undefined
    return {
      type: 'truth',
      evaluate: (read) => isTrue(order(left.evaluate(read), right.evaluate(read))),
      ...(id === undefined ? {} : { id }),
    }
  }

  #parseOperand(): Node {
    const token = this.#peek()
    this.#at += 1
    if (token.kind === 'text') return constant('text', token.text)
    if (token.kind === 'number') return constant('number', Number(token.text))
    if (token.kind === 'sign' && token.text === '(') {
      const inside = this.#parseOr()
      this.#expect(')')
      return inside
    }
    if (token.kind !== 'name') throw malformed(token.kind === 'end' ? 'it ends too early' : `${token.text} is too much`)
    return this.#parseNamed(token.text)
  }

  #parseNamed(name: string): Node {
    if (name === 'true' || name === 'false') return constant('truth', name === 'true')
    if (name === 'null') return constant('none', null)
    const next = this.#peek()
    if (name === 'datetime' && next.kind === 'text') {
      this.#at += 1
      const time = Date.parse(/Z$|[+-]\d\d:\d\d$/.test(next.text) ? next.text : `${next.text}Z`)
      if (Number.isNaN(time)) throw malformed(`${JSON.stringify(next.text.slice(0, 40))} is no time`)
      return constant('time', time)
    }
    if (next.kind === 'sign' && next.text === '(') return this.#parseCall(name)
    const type = this.#findType(name)
    if (type === undefined) throw malformed(`there is no property ${JSON.stringify(name.slice(0, 60))}`)
    return { type, evaluate: (read) => read(name), property: name }
  }

  #parseCall(name: string): Node {
    const found = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
    if (found === undefined) throw malformed(`there is no function ${JSON.stringify(name.slice(0, 60))}`)
    const { count, type, call } = found
    this.#expect('(')
    const given: Node[] = []
    do given.push(this.#parseOr())
    while (this.#takeSign(','))
    this.#expect(')')
    if (given.length !== count) throw malformed(`${name} takes ${count} values, not ${given.length}`)
    const wrong = given.find((one) => one.type !== 'text' && one.type !== 'none')
    if (wrong !== undefined) throw malformed(`${name} takes texts, not a ${wrong.type}`)
    const [only] = given
    const property = name === 'tolower' || name === 'toupper' ? only?.property : undefined
    return {
      type,
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

function constant(type: Node['type'], value: ODataValue): Node {
  return { type, evaluate: () => value, literal: value }
}

/** @throws BAD_INPUT */
function verifyCondition({ type }: Node, what: string): void {
  if (type === 'text' || type === 'number' || type === 'time')
    throw malformed(`${what} takes a condition, not a ${type}`)
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

function malformed(why: string): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', `the $filter cannot be understood: ${why}`)
}
