import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedDatastore } from '../../src/network/bounded-datastore.ts'

type Key = Parameters<BoundedDatastore['put']>[0]
const key = (name: string) => ({ toString: () => name }) as Key
const VALUE = Buffer.from('value')

function names(store: BoundedDatastore, prefix: string): string[] {
  return [...(store.queryKeys({ prefix }) as Generator<Key>)].map((each) => each.toString())
}

test('of each room the longest unused goes first, and never what is kept', () => {
  const store = new BoundedDatastore((name) => name === '/peers/own', { maxEntries: 3 })
  for (const name of ['/peers/own', '/peers/a', '/peers/b', '/dht/x']) store.put(key(name), VALUE)
  assert.equal(store.get(key('/peers/a')), VALUE)
  store.put(key('/peers/c'), VALUE)
  assert.deepEqual(names(store, '/peers').sort(), ['/peers/a', '/peers/c', '/peers/own'])
  store.put(key('/peers/c'), Buffer.from('other'))
  assert.deepEqual(store.get(key('/peers/c')), Buffer.from('other'))
  assert.deepEqual(names(store, '/dht'), ['/dht/x'], 'another room has its own places')
  assert.throws(() => store.get(key('/peers/b')), { name: 'NotFoundError' })
  store.delete(key('/dht/x'))
  assert.equal(store.has(key('/dht/x')), false)
})

test('one peer cannot take the places of all', () => {
  const store = new BoundedDatastore(() => false, { maxOfPeer: 2 })
  store.put(key('/dht/provider/0/honest'), VALUE)
  for (let index = 0; index < 10; index += 1) store.put(key(`/dht/provider/${index}/greedy`), VALUE)
  assert.deepEqual(names(store, '/dht/provider'), [
    '/dht/provider/0/honest',
    '/dht/provider/8/greedy',
    '/dht/provider/9/greedy',
  ])
})

test('what is too large is refused', () => {
  const store = new BoundedDatastore(() => false, { maxKeyLength: 20, maxValueBytes: 5 })
  store.put(key('/dht/short'), VALUE)
  assert.throws(() => store.put(key('/dht/short'), Buffer.alloc(6)), RangeError)
  assert.throws(() => store.put(key(`/dht/${'x'.repeat(20)}`), VALUE), RangeError)
})

test('what is found while it is used is found once', async () => {
  const store = new BoundedDatastore(() => false)
  for (let index = 0; index < 5; index += 1) store.put(key(`/dht/${index}`), VALUE)
  const found: string[] = []
  for await (const { key: each } of store.query({ prefix: '/dht' })) {
    store.get(each)
    found.push(each.toString())
  }
  assert.deepEqual(found, ['/dht/0', '/dht/1', '/dht/2', '/dht/3', '/dht/4'])
})
