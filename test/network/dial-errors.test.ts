import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import { abortError, describeDialError, openStreamError } from '../../src/network/dial-errors.ts'

const named = (name: string, message = ''): Error => Object.assign(new Error(message), { name })

test('errors of libp2p become phrases and codes of ours', () => {
  assert.match(describeDialError(named('TimeoutError')), /no answer in time/)
  assert.match(describeDialError(named('NoValidAddressesError')), /expected \/ip4/)
  assert.match(describeDialError(new AggregateError([named('Error', 'connect ECONNREFUSED')])), /ECONNREFUSED/)
  const codes = [
    ['UnsupportedProtocolError', 'PEER_INVALID'],
    ['TooManyOutboundProtocolStreamsError', 'BUSY'],
    ['TimeoutError', 'TIMEOUT'],
    ['MuxerClosedError', 'PEER_UNREACHABLE'],
  ] as const
  for (const [name, code] of codes) assert.equal(openStreamError(named(name), 'peer', '/p/1').code, code)
  assert.equal(abortError(AbortSignal.abort(), 'x').code, 'ABORTED')
  assert.equal(abortError(AbortSignal.abort(named('TimeoutError')), 'x').code, 'TIMEOUT')
  const own = new FeedmeshError('FORBIDDEN', 'no')
  assert.equal(abortError(AbortSignal.abort(own), 'x'), own)
})
