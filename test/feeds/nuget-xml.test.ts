import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { escapeXml } from '../../protocols/feeds/nuget/xml.ts'
import { parseXml, type XmlElement } from '../../protocols/feeds/nuget/xml-reader.ts'
import { isFeedmeshError } from '../../src/errors.ts'

interface Tree {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly text: string
  readonly children: readonly Tree[]
}

const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,8}$/)
const text = fc.string({ unit: 'binary', maxLength: 12 })
const tree = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.record({
    name,
    attributes: fc.dictionary(name, text, { maxKeys: 3, noNullPrototype: true }),
    text,
    children: fc.oneof({ maxDepth: 4 }, fc.constant([]), fc.array(tie('tree'), { maxLength: 3 })),
  }),
})).tree

const plain = (value: string) =>
  value.toWellFormed().replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '')

function render({ name: tag, attributes, text: content, children }: Tree): string {
  const list = Object.entries(attributes).map(([key, value]) => `\n x:${key} = "${escapeXml(value)}"`)
  return `<x:${tag}${list.join('')} ><!-- <a> -->${escapeXml(content)}<?p <b> ?>${children.map(render).join('')}</x:${tag} >`
}

function describeElement({ name: tag, attributes, text: content, children }: XmlElement): Tree {
  return {
    name: tag,
    attributes: Object.fromEntries(attributes),
    text: content,
    children: children.map(describeElement),
  }
}

function expected({ name: tag, attributes, text: content, children }: Tree): Tree {
  const values = Object.entries(attributes).map(([key, value]) => [key, plain(value)])
  return { name: tag, attributes: Object.fromEntries(values), text: plain(content), children: children.map(expected) }
}

describe('XML', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(tree, (one) => {
        assert.deepEqual(describeElement(parseXml(`\uFEFF<?xml version="1.0"?>\n${render(one)}\n`)), expected(one))
      }),
    )
  })

  it('keeps what is in CDATA as it is, and entities that name nothing', () => {
    const root = parseXml('<a>1 &lt;<![CDATA[<b>&lt;]]> &nbsp; &#65;&#x42;<b/></a>')
    assert.equal(root.text, '1 <<b>&lt; &nbsp; AB')
    assert.deepEqual(
      root.children.map((child) => child.name),
      ['b'],
    )
  })

  it('is refused when it is none', () => {
    for (const wrong of [
      '',
      'text',
      '<a>',
      '</a>',
      '<a></b>',
      '<a><b></a></b>',
      '<a/><b/>',
      '<a/>text',
      '<a b></a>',
      '<a b=c></a>',
      '<a b="<"></a>',
      '<a',
      '<a><!-- </a>',
      '<a><![CDATA[ </a>',
      '<!DOCTYPE a><a/>',
      '<a><!ENTITY b "c"></a>',
      '< a/>',
      '<a>'.repeat(33) + '</a>'.repeat(33),
      '<a>'.repeat(300_000),
      `<a ${'b="c" '.repeat(150_000)}`,
      `<a b="${'c'.repeat(1_000_000)}`,
      `<a${' '.repeat(1_000_000)}b`,
    ])
      assert.throws(
        () => parseXml(wrong),
        (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.length < 300,
        wrong.slice(0, 60),
      )
  })

  it('fails in one way only, whatever the text', () => {
    const piece = fc.constantFrom(
      '<',
      '>',
      '/',
      'a',
      ' b="c"',
      '<a',
      '</a>',
      '<a>',
      '<!--',
      '-->',
      '<![CDATA[',
      ']]>',
      '&',
      '?',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        try {
          assert.equal(typeof parseXml(pieces.join('')).name, 'string')
        } catch (error) {
          assert.ok(isFeedmeshError(error, 'BAD_INPUT'), String(error))
        }
      }),
    )
  })
})
