import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressBook, MAX_ADDRESSES } from '../../src/network/address-book.ts'

test('the address book keeps kept peers for ever and forgets the oldest of the others', () => {
  const book = new AddressBook()
  book.keep('kept', ['/a'])
  for (let at = 0; at < 3000; at += 1) book.note(`peer ${at}`, ['/b'])
  assert.deepEqual(book.find('kept')?.addresses, ['/a'])
  assert.equal(book.find('peer 0'), undefined)
  assert.deepEqual(book.find('peer 2999')?.addresses, ['/b'])
  assert.ok([...book.entries()].length <= 2049)
})

test('the address book holds each address once, a bounded number, and never loses them to an empty list', () => {
  const book = new AddressBook()
  book.note('peer', ['/a', '/a', '/b'])
  book.note('peer', [])
  assert.deepEqual(book.find('peer')?.addresses, ['/a', '/b'])
  const many = Array.from({ length: 100 }, (_, at) => `/${at}`)
  book.keep('peer', many)
  assert.deepEqual(book.find('peer')?.addresses, many.slice(0, MAX_ADDRESSES))
})
