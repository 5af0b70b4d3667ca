import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { AttachmentScanner } from '../../protocols/feeds/npm/attachment-scanner.ts'
import { type ErrorCode, isFeedmeshError } from '../../src/errors.ts'

const LIMITS = { maxDocumentBytes: 64 * 1024, maxAttachments: 2 }

interface Scanned {
  readonly document: unknown
  readonly files: ReadonlyMap<string, Buffer>
}

function scan(text: string | Buffer, cuts: readonly number[] = [], limits = LIMITS): Scanned {
  const bytes = Buffer.from(text)
  const scanner = new AttachmentScanner(limits)
  const files = new Map<string, Buffer>()
  let open = ''
  const edges = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
  for (const [at, start] of edges.entries()) {
    for (const event of scanner.push(bytes.subarray(start, edges[at + 1] ?? bytes.length))) {
      if (event.type === 'begin') {
        open = event.name
        files.set(open, Buffer.alloc(0))
      }
      if (event.type === 'data') files.set(open, Buffer.concat([files.get(open) ?? Buffer.alloc(0), event.bytes]))
    }
  }
  return { document: scanner.end(), files }
}

function fails(code: ErrorCode, text: string | Buffer, limits = LIMITS): void {
  assert.throws(
    () => scan(text, [], limits),
    (error) => isFeedmeshError(error, code),
    String(text).slice(0, 200),
  )
}

const CONTENT = Buffer.from(Array.from({ length: 100 }, (_value, at) => (at * 37) % 256))
const DOCUMENT = {
  name: 'a',
  readme: 'quotes \\" { [ } ] , : \n\u2028 "data" \u{1F600}',
  versions: { '1.0.0': { _attachments: { 'x.tgz': { data: 'not an attachment' } } } },
  _attachments: {
    'a-1.0.0.tgz': { content_type: 'x', data: CONTENT.toString('base64'), length: 100 },
    'a-1.0.0.sigstore': { data: Buffer.from('{}').toString('base64'), other: { data: 'kept' } },
  },
  after: [{ data: 'kept' }, 1.5, null, true],
}

function withoutData(document: typeof DOCUMENT): unknown {
  const copy = structuredClone(document)
  for (const attachment of Object.values(copy._attachments)) attachment.data = ''
  return copy
}

describe('AttachmentScanner', () => {
  it('takes the attachments out of a document, cut at every byte', () => {
    for (const text of [JSON.stringify(DOCUMENT), JSON.stringify(DOCUMENT, undefined, 2)]) {
      const bytes = Buffer.from(text)
      for (let cut = 0; cut <= bytes.length; cut += 1) {
        const { document, files } = scan(text, [cut])
        assert.deepEqual(document, withoutData(DOCUMENT))
        assert.deepEqual(
          [...files],
          [
            ['a-1.0.0.tgz', CONTENT],
            ['a-1.0.0.sigstore', Buffer.from('{}')],
          ],
        )
      }
    }
  })

  it('gives the same for any document and any cuts as parsing it whole', () => {
    const bytes = fc.uint8Array({ maxLength: 300 })
    const name = fc.string({ unit: 'grapheme', maxLength: 10 }).filter((text) => text !== '__proto__')
    const arbitrary = fc.record({
      before: fc.jsonValue(),
      name,
      content: bytes,
      after: fc.jsonValue(),
      isPretty: fc.boolean(),
    })
    fc.assert(
      fc.property(
        arbitrary,
        fc.array(fc.nat(3000), { maxLength: 8 }),
        ({ before, name, content, after, isPretty }, cuts) => {
          const data = Buffer.from(content).toString('base64')
          const document = { before, _attachments: { [name]: { data, after } }, after }
          const text = Buffer.from(JSON.stringify(document, undefined, isPretty ? 1 : 0))
          const scanned = scan(
            text,
            cuts.filter((cut) => cut <= text.length),
          )
          const expected = JSON.parse(JSON.stringify({ before, _attachments: { [name]: { data: '', after } }, after }))
          assert.deepEqual(scanned.document, expected)
          assert.deepEqual(scanned.files.get(name), Buffer.from(content))
        },
      ),
      { numRuns: 500 },
    )
  })

  it('never throws anything but its own errors, whatever the bytes are', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc.string({ maxLength: 400 }).map((text) => Buffer.from(text)),
      fc
        .tuple(fc.nat(400), fc.nat(255))
        .map(([at, byte]) => Buffer.from(JSON.stringify(DOCUMENT)).fill(byte, at, at + 1)),
      fc
        .array(fc.constantFrom('{', '}', '[', ']', '"', ':', ',', '\\', '_attachments', 'data', 'YQ==', '/'), {
          maxLength: 60,
        })
        .map((parts) => Buffer.from(parts.join(''))),
    )
    fc.assert(
      fc.property(hostile, (bytes) => {
        try {
          const { document } = scan(Buffer.from(bytes))
          return document !== undefined
        } catch (error) {
          return isFeedmeshError(error, 'BAD_INPUT', 'TOO_LARGE')
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('accepts an escaped solidus in base64, at any cut', () => {
    const content = Buffer.from([0xff, 0xff, 0xff, 0xfb, 0xf0])
    const text = JSON.stringify({ _attachments: { f: { data: content.toString('base64') } } }).replaceAll('/', '\\/')
    assert.ok(text.includes('\\/'))
    for (let cut = 0; cut <= text.length; cut += 1) assert.deepEqual(scan(text, [cut]).files.get('f'), content)
  })

  it('finds keys that are written with escapes', () => {
    const text = '{"\\u005fattachments":{"\\u0066":{"d\\u0061ta":"aGk="}}}'
    assert.deepEqual([...scan(text).files], [['f', Buffer.from('hi')]])
  })

  it('leaves data alone that is not a string or not at that place', () => {
    for (const document of [
      { _attachments: { f: { data: 5 } } },
      { _attachments: { f: { data: { data: 'x' } } } },
      { _attachments: [{ f: { data: 'x' } }] },
      { _attachments: { f: ['data', 'x'] } },
      { data: 'x', f: { data: 'x' }, x: { _attachments: { f: { data: 'x' } } } },
    ]) {
      const scanned = scan(JSON.stringify(document))
      assert.equal(scanned.files.size, 0)
      assert.deepEqual(scanned.document, document)
    }
  })

  it('refuses what is not base64', () => {
    for (const data of [
      'a',
      'abc',
      'ab=c',
      'YQ==YQ==',
      'a b=',
      'YQ=\\u003d',
      '\\n',
      'é===',
      '=',
      '====',
      'YQ===',
      'Y===',
    ]) {
      fails('BAD_INPUT', `{"_attachments":{"f":{"data":"${data}"}}}`)
    }
  })

  it('refuses documents that are cut off, not JSON, not UTF-8 or nested too deep', () => {
    const whole = JSON.stringify(DOCUMENT)
    for (let end = 0; end < whole.length; end += 1) fails('BAD_INPUT', whole.slice(0, end))
    for (const text of [
      '',
      'x',
      '{]',
      '[}',
      '{"a":1,}',
      '{"a" 1}',
      '"',
      '{}}',
      '{}{}',
      '{"_attachments":{"f":{"data":"YQ=="x}}}',
    ]) {
      fails('BAD_INPUT', text)
    }
    fails('BAD_INPUT', Buffer.from([0x22, 0xff, 0x22]))
    fails('BAD_INPUT', `${'['.repeat(101)}${']'.repeat(101)}`)
  })

  it('refuses an attachment that comes twice and more attachments than allowed', () => {
    fails('BAD_INPUT', '{"_attachments":{"f":{"data":"YQ==","data":"YQ=="}}}')
    fails('BAD_INPUT', '{"_attachments":{"f":{"data":"YQ=="}},"_attachments":{"f":{"data":"YQ=="}}}')
    fails('BAD_INPUT', '{"_attachments":{"a":{"data":""},"b":{"data":""},"c":{"data":""}}}')
  })

  it('limits the document, not the attachments', () => {
    const limits = { maxDocumentBytes: 200, maxAttachments: 1 }
    const big = Buffer.alloc(100_000, 7)
    const text = JSON.stringify({ _attachments: { f: { data: big.toString('base64') } } })
    assert.deepEqual(scan(text, [], limits).files.get('f'), big)
    fails('TOO_LARGE', JSON.stringify({ readme: 'x'.repeat(200) }), limits)
    fails('TOO_LARGE', `{"${'k'.repeat(300)}":1}`, limits)
  })
})
