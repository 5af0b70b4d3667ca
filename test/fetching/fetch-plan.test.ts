/** The rules by which a plan chooses, one by one. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import type { FetchPeer } from '../../src/fetching/fetch-peers.ts'
import { FetchPlan } from '../../src/fetching/fetch-plan.ts'
import { PeerMemory } from '../../src/fetching/peer-memory.ts'
import { comesBefore, hashText } from '../../src/fetching/rendezvous.ts'
import type { PlannedRequest } from '../../src/fetching/requests.ts'
import { blob, broken, lie, MIB, OWN, openPlan, peer, refused } from './opened-plan.ts'

test('peers of the same site are asked first, then of the region, then the rest, whatever their speed', () => {
  const near = peer('near', { site: 'here', region: 'europe', rttMs: 500 })
  const region = peer('region', { region: 'europe' })
  const far = peer('far', { rttMs: 1 })
  const asked = (peers: readonly FetchPeer[]) => openPlan(peers, [blob('a')]).decide(0).send[0]?.peer
  assert.equal(asked([far, region, near]), 'near')
  assert.equal(asked([far, region]), 'region')
  assert.equal(asked([far]), 'far')
})

test('what nobody waits for is left until a near peer is free; a client gets whoever is', () => {
  const peers = [peer('near', { site: 'here' }), peer('far')]
  const blobs = Array.from({ length: 6 }, (_, at) => blob(`b${at}`))
  const background = openPlan(peers, blobs).decide(0).send
  assert.deepEqual(new Set(background.map((request) => request.peer)), new Set(['near']))
  assert.equal(background.length, 4)
  const waited = openPlan(
    peers,
    blobs.map((one) => ({ ...one, isWaited: true })),
  ).decide(0).send
  assert.deepEqual(waited.map((request) => request.peer).sort(), ['far', 'far', 'near', 'near', 'near', 'near'])
})

test('a blob that a client waits for goes before all others', () => {
  const plan = openPlan(
    [peer('a')],
    Array.from({ length: 20 }, (_, at) => blob(`b${at}`)),
  )
  plan.want([blob('waited', { isWaited: true })])
  assert.equal(plan.decide(0).send[0]?.parts[0]?.digest, 'waited')
})

test('requests are bounded for each peer and in total', () => {
  const blobs = Array.from({ length: 100 }, (_, at) => blob(`b${at}`))
  const peers = ['a', 'b', 'c', 'd'].map((id) => peer(id))
  const { send } = openPlan(peers, blobs).decide(0)
  assert.equal(send.length, 8)
  for (const { id } of peers) assert.ok(send.filter((request) => request.peer === id).length <= 4, id)
})

test('many small blobs are asked for at once', () => {
  const blobs = Array.from({ length: 100 }, (_, at) => blob(`b${at}`, { size: 1000 }))
  const { send } = openPlan([peer('a')], blobs).decide(0)
  assert.deepEqual(
    send.map(({ parts }) => parts.length),
    [32, 32, 32, 4],
  )
})

test('a transfer that broke goes on at its offset with the next peer', () => {
  const plan = openPlan([peer('a', { rttMs: 1 }), peer('b', { rttMs: 50 })], [blob('x')])
  const [first] = plan.decide(0).send
  assert.equal(first?.peer, 'a')
  plan.arrived(first.id, 'x', 3 * MIB, 3 * MIB)
  plan.broke(first.id, broken, 100)
  const [second] = plan.decide(100).send
  assert.deepEqual([second?.peer, second?.parts[0]?.from, second?.parts[0]?.to], ['b', 3 * MIB, 10 * MIB])
})

test('streams of one peer that break together break once, and a peer that breaks three times in a row is out', () => {
  const plan = openPlan(
    [peer('a')],
    Array.from({ length: 8 }, (_, at) => blob(`b${at}`)),
  )
  for (let round = 1; round <= 3; round += 1) {
    const { send, failed } = plan.decide(round)
    assert.ok(send.length > 0, `round ${round}`)
    assert.equal(
      failed.some(({ error }) => error.code !== 'PEER_UNREACHABLE'),
      false,
    )
    for (const { id } of send) plan.broke(id, broken, round)
  }
  plan.decide(4)
  assert.ok(plan.isOver)
})

test('a peer that has not a blob is not asked for it again, and is for others', () => {
  const plan = openPlan([peer('a')], [blob('x'), blob('y')])
  const { send } = plan.decide(0)
  const ofX = send.find(({ parts }) => parts[0]?.name === 'x')!
  plan.refused(ofX.id, 'x', refused('not here'), 1)
  assert.deepEqual(
    plan.decide(1).failed.map(({ digest, error }) => [digest, error.code]),
    [['x', 'NOT_FOUND']],
  )
  const ofY = send.find(({ parts }) => parts[0]?.name === 'y')!
  assert.equal(plan.done(ofY.id, 'y', 2), true)
  assert.ok(plan.isOver)
})

test('NOT_FOUND is the reason only when no peer has the blob; else another one might have it later', () => {
  const reason = (errors: readonly FeedmeshError[]) => {
    const plan = openPlan(
      errors.map((_, at) => peer(`p${at}`)),
      [blob('x')],
    )
    for (const error of errors) {
      const [request] = plan.decide(0).send
      plan.refused(request!.id, 'x', error, 0)
    }
    return plan.decide(0).failed[0]?.error
  }
  assert.equal(reason([refused('one'), refused('two')])?.code, 'NOT_FOUND')
  const mixed = reason([refused('one'), new FeedmeshError('STORAGE_IO', 'two')])
  assert.equal(mixed?.code, 'STORAGE_IO')
  assert.match(mixed?.message ?? '', /p\d: one; p\d: two|p\d: two; p\d: one/)
})

test('a peer whose bytes were wrong is asked last for the rest of the fetch, and in the next ones', () => {
  const memory = new PeerMemory()
  const peers = [peer('liar', { site: 'here' }), peer('honest')]
  const plan = openPlan(peers, [blob('x'), blob('y')], memory)
  const { send } = plan.decide(0)
  assert.deepEqual(
    send.map((request) => request.peer),
    ['liar', 'liar'],
  )
  const [first, second] = send
  for (const request of [first!, second!]) plan.arrived(request.id, request.parts[0]!.name, 10 * MIB, 10 * MIB)
  plan.wrong(first!.id, first!.parts[0]!.name, lie, 1)
  const after = plan.decide(1)
  assert.deepEqual(
    after.lies.map((one) => one.peer),
    ['liar'],
  )
  assert.deepEqual(
    after.send.map((request) => [request.peer, request.parts[0]?.from]),
    [['honest', 0]],
  )
  const asked = (nowMs: number) => {
    const next = new FetchPlan({ own: OWN, memory, smallBytes: 0 })
    for (const one of peers) next.addPeer(one, nowMs)
    next.want([blob('z')])
    return next.decide(nowMs).send[0]?.peer
  }
  assert.equal(asked(2), 'honest')
  assert.equal(asked(61_000), 'liar')
})

test('a liar that is the only holder is asked for other blobs, and no more after three lies', () => {
  const plan = openPlan(
    [peer('liar')],
    Array.from({ length: 6 }, (_, at) => blob(`b${at}`)),
  )
  let lies = 0
  for (let round = 0; !plan.isOver && round < 20; round += 1) {
    for (const { id, parts } of plan.decide(round).send.slice(0, 1)) {
      plan.arrived(id, parts[0]!.name, 10 * MIB, 10 * MIB)
      plan.wrong(id, parts[0]!.name, lie, round)
      lies += 1
    }
    if (lies === 3) break
  }
  const { send, failed } = plan.decide(99)
  assert.deepEqual(send, [])
  assert.ok(failed.every(({ error }) => error.code === 'PEER_INVALID'))
})

test('wrong bytes of two are nobody’s; then one gives all of it, and it is known whose they are', () => {
  const plan = openPlan([peer('a', { rttMs: 1 }), peer('b')], [blob('x')])
  const [first] = plan.decide(0).send
  plan.arrived(first!.id, 'x', MIB, MIB)
  plan.broke(first!.id, broken, 1)
  const [second] = plan.decide(1).send
  plan.arrived(second!.id, 'x', 9 * MIB, 9 * MIB)
  plan.wrong(second!.id, 'x', lie, 2)
  const { send, lies } = plan.decide(2)
  assert.deepEqual(lies, [])
  assert.deepEqual([send.length, send[0]?.parts[0]?.from, send[0]?.parts[0]?.isAlone], [1, 0, true])
  plan.arrived(send[0]!.id, 'x', 10 * MIB, 10 * MIB)
  plan.wrong(send[0]!.id, 'x', lie, 3)
  assert.deepEqual(
    plan.decide(3).lies.map((one) => one.peer),
    [send[0]!.peer],
  )
})

test('bytes that an earlier fetch left are not held against the peer that gave the rest', () => {
  const plan = openPlan([peer('a')], [blob('x')])
  const [first] = plan.decide(0).send
  plan.noteKept(first!.id, 'x', 4 * MIB)
  plan.arrived(first!.id, 'x', 6 * MIB, 6 * MIB)
  plan.wrong(first!.id, 'x', lie, 1)
  const { lies, send } = plan.decide(1)
  assert.deepEqual([lies.length, send[0]?.peer, send[0]?.parts[0]?.from], [0, 'a', 0])
})

test('a request that stands still is hedged with the rest of it; the first wins, and the other is cancelled', () => {
  const plan = openPlan([peer('a', { rttMs: 1 }), peer('b')], [blob('x')])
  const [first] = plan.decide(0).send
  plan.arrived(first!.id, 'x', 2 * MIB, 2 * MIB)
  const { wakeAtMs } = plan.decide(10)
  assert.ok(wakeAtMs !== undefined)
  assert.deepEqual(plan.decide(wakeAtMs).send, [])
  let hedge: PlannedRequest | undefined
  for (let nowMs = wakeAtMs; hedge === undefined && nowMs < 60_000; nowMs += 500) [hedge] = plan.decide(nowMs).send
  assert.deepEqual([hedge?.peer, hedge?.parts[0]?.from], ['b', 2 * MIB])
  plan.arrived(hedge!.id, 'x', 8 * MIB, 8 * MIB)
  plan.done(hedge!.id, 'x', 60_000)
  assert.deepEqual(plan.decide(60_000).cancel, [first!.id])
  assert.ok(plan.isOver)
})

test('what is nearly done is not hedged, nor is a peer that is as quick as usual', () => {
  const slow = openPlan([peer('a', { rttMs: 1 }), peer('b')], [blob('x')])
  const [first] = slow.decide(0).send
  slow.arrived(first!.id, 'x', 10 * MIB - 1000, 10 * MIB - 1000)
  for (let nowMs = 500; nowMs < 1500; nowMs += 500) assert.deepEqual(slow.decide(nowMs).send, [])
  const quick = openPlan([peer('a', { rttMs: 1 }), peer('b')], [blob('x')])
  const [second] = quick.decide(0).send
  for (let nowMs = 500; nowMs < 20_000; nowMs += 500) {
    quick.arrived(second!.id, 'x', MIB / 4, MIB / 4)
    assert.deepEqual(quick.decide(nowMs).send, [], `${nowMs}`)
  }
})

test('of neighbours that want the same parts each has parts of its own, and all parts have one', () => {
  const ids = ['n1', 'n2', 'n3', 'n4']
  const blobs = [blob('x', { size: 64 * MIB, partBytes: MIB })]
  const turns = new Map<string, string[]>()
  for (const id of ids) {
    const own = { ...OWN, id }
    const mates = ids
      .filter((other) => other !== id)
      .map((other) => peer(other, { site: 'here', holds: 'told', isFetching: true }))
    const plan = openPlan([peer('hub'), ...mates], blobs, new PeerMemory(), own)
    for (let { send } = plan.decide(0); send.length > 0; { send } = plan.decide(0)) {
      for (const request of send) {
        const name = request.parts[0]!.name
        turns.set(name, [...(turns.get(name) ?? []), id])
        plan.done(request.id, name, 0)
      }
    }
  }
  assert.equal(turns.size, 64)
  const counts = [...turns.values()].map((nodes) => nodes.length)
  assert.ok(
    counts.every((count) => count === 1),
    counts.join(' '),
  )
})

test('nodes that start together begin with different blobs', () => {
  const blobs = Array.from({ length: 100 }, (_, at) => blob(`b${at}`))
  const firsts = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6'].map((id) => {
    const plan = openPlan([peer('hub')], blobs, new PeerMemory(), { id, site: '', region: '' })
    return plan.decide(0).send[0]?.parts[0]?.name
  })
  assert.ok(new Set(firsts).size >= 5, firsts.join(' '))
})

test('a neighbour that tells of nothing is waited for until a limit, and not for its other parts', () => {
  const mate = peer('mate', { site: 'here', holds: 'told', isFetching: true })
  const plan = openPlan([peer('hub'), mate], [blob('x', { size: 64 * MIB, partBytes: MIB })])
  let asked = 0
  let lastMs = 0
  for (let nowMs = 0; nowMs <= 60_000 && !plan.isOver; nowMs += 100) {
    for (const { id, parts } of plan.decide(nowMs).send) {
      asked += 1
      lastMs = nowMs
      plan.done(id, parts[0]!.name, nowMs)
    }
  }
  assert.equal(asked, 64)
  assert.ok(lastMs >= 3000 && lastMs < 15_000, `${lastMs}`)
})

test('a neighbour that tells of a part is asked for it instead of the hub', () => {
  const mate = peer('mate', { site: 'here', holds: 'told', isFetching: true })
  const part = Array.from({ length: 50 }, (_, at) => `p${at}`).find((name) =>
    comesBefore(hashText(name), { id: 'mate', hash: hashText('mate') }, { id: 'own', hash: hashText('own') }),
  )!
  const plan = openPlan([peer('hub'), mate], [blob(part)])
  assert.deepEqual(plan.decide(0).send, [])
  plan.noteHoldings('mate', [part], 1000)
  assert.deepEqual(
    plan.decide(1000).send.map((request) => request.peer),
    ['mate'],
  )
})

test('a peer that mostly has nothing is asked last', () => {
  const blobs = Array.from({ length: 40 }, (_, at) => blob(`b${at}`))
  const plan = openPlan([peer('near', { site: 'here', holds: 'unknown' }), peer('far')], blobs)
  let asked = 0
  for (let round = 0; round < 40; round += 1) {
    for (const { id, parts, peer: who } of plan.decide(round).send) {
      if (who === 'near') plan.refused(id, parts[0]!.name, refused('not here'), round)
      else plan.done(id, parts[0]!.name, round)
      asked += who === 'near' ? 1 : 0
    }
  }
  assert.ok(plan.isOver)
  assert.ok(asked <= 12, `${asked}`)
})
