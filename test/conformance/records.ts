/** What every record store has to do; run on each implementation by `test/store/*.test.ts`. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { Records, ScanOptions, Write } from '../../src/store/records.ts'

const bytes = (text: string) => Buffer.from(text)
const put = (key: string, value: string): Write => ({ type: 'put', key: bytes(key), value: bytes(value) })
const del = (key: string): Write => ({ type: 'del', key: bytes(key) })
const ALL = { gte: Buffer.alloc(0), lt: Buffer.alloc(8, 0xff) }

function entryText(key: Uint8Array, value: Uint8Array): string {
  return `${String(Buffer.from(key))}=${String(Buffer.from(value))}`
}

async function scanAll(records: Records, options: ScanOptions): Promise<string[]> {
  const entries: string[] = []
  for await (const [key, value] of records.scan(options)) entries.push(entryText(key, value))
  return entries
}

async function scanKeys(records: Records, options: ScanOptions): Promise<string[]> {
  const found: string[] = []
  for await (const key of records.scanKeys(options)) found.push(Buffer.from(key).toString())
  return found
}

async function findText(records: Records, key: string): Promise<string | undefined> {
  const value = await records.find(bytes(key))
  return value && Buffer.from(value).toString()
}

function testPoints(open: () => Promise<Records>): void {
  it('finds what was written, and nothing else', async () => {
    await using records = await open()
    await records.write([put('k', 'v'), put('empty', '')])
    assert.equal(await findText(records, 'k'), 'v')
    assert.equal((await records.find(bytes('empty')))?.length, 0)
    assert.equal(await records.find(bytes('absent')), undefined)
  })

  it('answers findMany in the order of the keys, with gaps', async () => {
    await using records = await open()
    await records.write([put('a', '1'), put('b', '2')])
    const found = await records.findMany([bytes('b'), bytes('x'), bytes('a'), bytes('b')])
    assert.deepEqual(
      found.map((value) => value && Buffer.from(value).toString()),
      ['2', undefined, '1', '2'],
    )
    assert.deepEqual(await records.findMany([]), [])
  })

  it('applies the writes of a batch in order', async () => {
    await using records = await open()
    await records.write([put('a', '1'), del('a'), put('b', '1'), put('b', '2'), del('c'), put('c', '3')])
    assert.deepEqual(await scanAll(records, { gte: bytes('a'), lt: bytes('d') }), ['b=2', 'c=3'])
  })

  it('lets concurrent writes take effect in the order of the calls', async () => {
    await using records = await open()
    const calls = Array.from({ length: 200 }, (_, i) => records.write([put('last', `${i}`), put(`own/${i}`, '')]))
    await Promise.all(calls)
    assert.equal(await findText(records, 'last'), '199')
    assert.equal((await scanKeys(records, { gte: bytes('own/'), lt: bytes('own0') })).length, 200)
  })

  it('accepts a write of nothing', async () => {
    await using records = await open()
    await records.write([])
    assert.equal(await findText(records, 'k'), undefined)
  })

  it('keeps bytes of its own: changing buffers afterwards changes nothing', async () => {
    await using records = await open()
    const key = bytes('key')
    const value = bytes('value')
    await records.write([{ type: 'put', key, value }])
    key.fill(0)
    value.fill(0)
    const found = await records.find(bytes('key'))
    assert.ok(found)
    found.fill(0)
    assert.equal(await findText(records, 'key'), 'value')
  })

  it('refuses reads and writes with ABORTED once it is closed', async () => {
    const records = await open()
    await records.write([put('a', '1')])
    await records[Symbol.asyncDispose]()
    await assert.rejects(async () => records.find(bytes('a')), { code: 'ABORTED' })
    await assert.rejects(async () => records.write([put('a', '2')]), { code: 'ABORTED' })
    await assert.rejects(scanAll(records, ALL), { code: 'ABORTED' })
    await records[Symbol.asyncDispose]()
  })
}

function testClosing(open: () => Promise<Records>): void {
  it('ends a scan with ABORTED when it is closed meanwhile', async () => {
    const records = await open()
    await records.write(Array.from({ length: 2_000 }, (_, i) => put(`k${i}`, 'x'.repeat(300))))
    const scan = async () => {
      for await (const key of records.scanKeys({ gte: bytes('k'), lt: bytes('l') })) {
        assert.ok(key.length > 0)
        await records[Symbol.asyncDispose]()
      }
    }
    await assert.rejects(scan(), { code: 'ABORTED' })
  })
}

function testScans(open: () => Promise<Records>): void {
  it('scans a half-open range in byte order, backwards on demand, up to a limit', async () => {
    await using records = await open()
    await records.write([put('b', '2'), put('a', '1'), put('d', '4'), put('c', '3')])
    const range = { gte: bytes('a'), lt: bytes('d') }
    assert.deepEqual(await scanAll(records, range), ['a=1', 'b=2', 'c=3'])
    assert.deepEqual(await scanKeys(records, { ...range, reverse: true }), ['c', 'b', 'a'])
    assert.deepEqual(await scanKeys(records, { ...range, limit: 2 }), ['a', 'b'])
    assert.deepEqual(await scanKeys(records, { ...range, limit: 2, reverse: true }), ['c', 'b'])
    assert.deepEqual(await scanKeys(records, { ...range, limit: 0 }), [])
    assert.deepEqual(await scanKeys(records, { gte: bytes('x'), lt: bytes('y') }), [])
  })

  it('orders keys as unsigned bytes', async () => {
    await using records = await open()
    const sorted = [[0], [0, 0], [0, 1], [1], [127], [128], [128, 0], [255], [255, 255]].map((key) =>
      Buffer.from([107, ...key]),
    )
    await records.write(sorted.toReversed().map((key) => ({ type: 'put', key, value: key })))
    const found: Buffer[] = []
    for await (const key of records.scanKeys({ gte: bytes('k'), lt: bytes('l') })) found.push(Buffer.from(key))
    assert.deepEqual(found, sorted)
  })

  it('scans more entries than one page holds', async () => {
    await using records = await open()
    const names = Array.from({ length: 2_500 }, (_, i) => `n/${String(i).padStart(5, '0')}`)
    await records.write(names.map((name) => put(name, 'x'.repeat(300))))
    const range = { gte: bytes('n/'), lt: bytes('n0') }
    assert.deepEqual(await scanKeys(records, range), names)
    assert.deepEqual(await scanKeys(records, { ...range, reverse: true }), names.toReversed())
    assert.equal((await scanAll(records, { ...range, limit: 1_001 })).length, 1_001)
  })

  it('does not show a scan what is written after its start', async () => {
    await using records = await open()
    await records.write([put('a', '1'), put('b', '1'), put('c', '1')])
    const seen: string[] = []
    for await (const [key, value] of records.scan({ gte: bytes('a'), lt: bytes('z') })) {
      if (seen.length === 0) await records.write([put('b', '2'), del('c'), put('d', '2')])
      seen.push(entryText(key, value))
    }
    assert.deepEqual(seen, ['a=1', 'b=1', 'c=1'])
  })

  it('can be read and written during and after a scan that is left early', async () => {
    await using records = await open()
    await records.write([put('a', '1'), put('b', '2')])
    for await (const [key] of records.scan({ gte: bytes('a'), lt: bytes('z') })) {
      assert.equal(await findText(records, Buffer.from(key).toString()), '1')
      break
    }
    await records.write([put('c', '3')])
    assert.deepEqual(await scanKeys(records, { gte: bytes('a'), lt: bytes('z') }), ['a', 'b', 'c'])
  })

  it('clears a range and leaves its neighbours', async () => {
    await using records = await open()
    const inside = Array.from({ length: 5_000 }, (_, i) => put(`m/${i}`, ''))
    await records.write([put('l', '1'), put('m0', '2'), ...inside])
    await records.clear({ gte: bytes('m/'), lt: bytes('m0') })
    assert.deepEqual(await scanKeys(records, { gte: bytes('l'), lt: bytes('z') }), ['l', 'm0'])
  })
}

const keyText = fc.stringMatching(/^[a-d]{1,3}$/)
const command = fc.oneof(
  fc.record({ type: fc.constant('put' as const), key: keyText, value: fc.string({ maxLength: 8 }) }),
  fc.record({ type: fc.constant('del' as const), key: keyText }),
)

function testModel(open: () => Promise<Records>): void {
  it('behaves like a sorted map under any sequence of batches and scans', async () => {
    await using records = await open()
    const batch = fc.array(command, { maxLength: 12 })
    const scan = fc.record({ from: keyText, to: keyText, reverse: fc.boolean(), limit: fc.nat(10) })
    const steps = fc.array(fc.tuple(batch, scan), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(steps, async (rounds) => {
        await records.clear({ gte: bytes('a'), lt: bytes('e') })
        const model = new Map<string, string>()
        for (const [writes, { from, to, reverse, limit }] of rounds) {
          await records.write(
            writes.map((write) => (write.type === 'put' ? put(write.key, write.value) : del(write.key))),
          )
          for (const write of writes) {
            if (write.type === 'put') model.set(write.key, write.value)
            else model.delete(write.key)
          }
          const expected = [...model].filter(([key]) => key >= from && key < to).sort(([a], [b]) => (a < b ? -1 : 1))
          if (reverse) expected.reverse()
          const entries = await scanAll(records, { gte: bytes(from), lt: bytes(to), reverse, limit })
          assert.deepEqual(
            entries,
            expected.slice(0, limit).map(([key, value]) => `${key}=${value}`),
          )
        }
      }),
      { numRuns: 40 },
    )
  })
}

/** `open` gives an empty store each time; the suite disposes of it. */
export function testRecords(name: string, open: () => Promise<Records>): void {
  describe(`records contract: ${name}`, () => {
    testPoints(open)
    testScans(open)
    testClosing(open)
    testModel(open)
  })
}
