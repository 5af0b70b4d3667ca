/** The rules by which a plan treats parts, neighbours and what clients come to wait for. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blob, broken, MIB, OWN, openPlan, peer, refused } from './opened-plan.ts'

test('a node whose neighbours fetch, too, asks a second far peer only for what stands still', () => {
  const open = (isFetching: boolean) => {
    const near = peer('near', { site: OWN.site, holds: 'told', isFetching })
    const plan = openPlan([peer('far'), peer('other'), near], [{ digest: 'b', size: 40 * MIB, isWaited: true }])
    // The neighbour comes first for nothing that is waited for longer than its limit.
    let beganAtMs = 0
    let [request] = plan.decide(beganAtMs).send
    while (request === undefined && beganAtMs < 60_000) {
      beganAtMs += 500
      request = plan.decide(beganAtMs).send[0]
    }
    assert.ok(request !== undefined)
    return { plan, request, beganAtMs }
  }
  const hedgesAt = (isFetching: boolean, bytesPerSecond: number): number => {
    const { plan, request, beganAtMs } = open(isFetching)
    let hedges = 0
    for (let nowMs = beganAtMs + 500; nowMs <= beganAtMs + 10_000; nowMs += 500) {
      plan.arrived(request.id, 'b', bytesPerSecond / 2, bytesPerSecond / 2)
      hedges += plan.decide(nowMs).send.length
    }
    return hedges
  }
  assert.equal(hedgesAt(false, 20_000), 1)
  assert.equal(hedgesAt(true, 20_000), 0)
  assert.equal(hedgesAt(true, 2000), 1)
})

test('a part that is here is not asked for, and a blob of which all are here is no part of the plan', () => {
  const plan = openPlan([peer('a')], [blob('b', { partBytes: 4 * MIB, here: new Set([1]) })])
  const asked = plan.decide(0).send.flatMap(({ parts }) => parts.map(({ name, start }) => [name, start] as const))
  assert.deepEqual(
    asked.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [
      ['b#0', 0],
      ['b#2', 8 * MIB],
    ],
  )
  plan.want([blob('c', { partBytes: 4 * MIB, here: new Set([0, 1, 2]) })])
  assert.deepEqual([plan.has('b'), plan.has('c')], [true, false])
})

test('what is direct goes first, and is not left to a neighbour that comes before', () => {
  const neighbours = Array.from({ length: 20 }, (_, at) =>
    peer(`near-${at}`, { site: OWN.site, holds: 'told', isFetching: true }),
  )
  const list = blob('list', { size: 1000 })
  assert.deepEqual(openPlan([peer('hub'), ...neighbours], [list]).decide(0).send, [], 'nor is it this node’s turn')
  const { send } = openPlan([peer('hub'), ...neighbours], [blob('x'), { ...list, isDirect: true }]).decide(0)
  assert.deepEqual([send[0]?.peer, send[0]?.parts[0]?.digest], ['hub', 'list'])
})

test('what a client comes to wait for goes on at once although the background has filled all room', () => {
  const plan = openPlan(
    [peer('a')],
    Array.from({ length: 20 }, (_, at) => blob(`b${at}`)),
  )
  const begun = plan.decide(0).send.flatMap(({ parts }) => parts.map(({ digest }) => digest))
  plan.limitLoad(2)
  const last = Array.from({ length: 20 }, (_, at) => `b${at}`).find((digest) => !begun.includes(digest))
  assert.ok(last !== undefined)
  assert.deepEqual(plan.decide(1).send, [])
  plan.hasten(last)
  assert.deepEqual(
    plan.decide(2).send.flatMap(({ parts }) => parts.map(({ digest }) => digest)),
    [last],
  )
})

test('a peer that had not a part and then tells of it is asked once more', () => {
  const near = peer('near', { site: OWN.site, holds: 'unknown' })
  const plan = openPlan([near], [blob('b'), blob('c')])
  const [first] = plan.decide(0).send.filter(({ parts }) => parts[0]?.digest === 'b')
  assert.ok(first !== undefined)
  plan.addPeer(peer('hub'), 1)
  plan.refused(first.id, 'b', refused('not here'), 1)
  const [second] = plan.decide(1).send
  assert.ok(second !== undefined)
  assert.equal(second.peer, 'hub')
  plan.broke(second.id, broken, 2)
  plan.noteHoldings('near', ['b'], 3)
  const [third] = plan.decide(3).send
  assert.ok(third !== undefined)
  assert.equal(third.peer, 'near')
  plan.refused(third.id, 'b', refused('still not'), 4)
  plan.noteHoldings('near', ['b'], 5)
  assert.notEqual(plan.decide(5).send[0]?.peer, 'near')
})
