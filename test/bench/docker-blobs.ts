/**
 * Blobs of 1 MB pushed (POST, PATCH, PUT, as podman and skopeo do) and pulled, against docker-registry 2.8; and the memory
 * of a node while one large layer streams in and out.
 */

import { createHash, randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { isDockerRegistryInstalled, NO_DOCKER_REGISTRY, startDockerRegistry } from './docker-registry.ts'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { HttpConnection, renderRequest } from './http-connection.ts'
import { measureRate } from './http-load.ts'
import { type BenchNode, startNode } from './node-process.ts'
import { alternate, medianOf, spreadOf, timed } from './samples.ts'

const MIB = 1024 ** 2
const BLOB_BYTES = MIB
const BLOBS = 200
const ROUNDS = 3
const PUSH_CONNECTIONS = 6
const PULL_CONNECTIONS = 8
const PULL_MS = 3000
const FEED = 'images'
const MAX_PEAK_BYTES = 350 * MIB

interface Registry {
  /** URL of a repository, without slash at its end. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

interface Blob {
  readonly bytes: Buffer
  readonly digest: string
}

function makeBlobs(count: number): Blob[] {
  return Array.from({ length: count }, () => {
    const bytes = randomBytes(BLOB_BYTES)
    return { bytes, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` }
  })
}

function locationOf(head: string, url: string): string {
  const location = /\r\nlocation: *([^\r]*)/i.exec(head)?.[1]
  if (location === undefined) throw new Error(`no Location: ${head}`)
  return new URL(location, url).href
}

async function pushBlob(connection: HttpConnection, { url, headers }: Registry, blob: Blob): Promise<void> {
  const send = async (method: string, target: string, status: number, body?: Buffer) => {
    const type = { 'content-type': 'application/octet-stream' }
    const parts = {
      method,
      url: target,
      headers: { ...headers, ...(body === undefined ? { 'content-length': '0' } : type) },
    }
    const answer = await connection.send(renderRequest(body === undefined ? parts : { ...parts, body }))
    if (answer.status !== status) throw new Error(`${method} ${target} answered ${answer.status}: ${answer.head}`)
    return answer.head
  }
  const begun = locationOf(await send('POST', `${url}/blobs/uploads/`, 202), url)
  const sent = locationOf(await send('PATCH', begun, 202, blob.bytes), url)
  await send('PUT', `${sent}${sent.includes('?') ? '&' : '?'}digest=${blob.digest}`, 201)
}

/** @returns seconds */
async function pushAll(registry: Registry, blobs: readonly Blob[]): Promise<number> {
  using stack = new DisposableStack()
  const connections: HttpConnection[] = []
  for (let at = 0; at < PUSH_CONNECTIONS; at += 1) connections.push(stack.use(await HttpConnection.open(registry.url)))
  const left = [...blobs]
  return await timed(() =>
    Promise.all(
      connections.map(async (connection) => {
        for (let blob = left.pop(); blob !== undefined; blob = left.pop()) await pushBlob(connection, registry, blob)
      }),
    ),
  )
}

async function startOwn(folder: string, stack: AsyncDisposableStack): Promise<{ node: BenchNode; registry: Registry }> {
  await mkdir(folder, { recursive: true })
  const node = stack.use(await startNode(join(folder, 'feedmesh')))
  await node.child.call('createFeed', node.folder, FEED, 'docker')
  const key = await node.child.call('createKey', node.folder, FEED)
  return { node, registry: { url: `${node.http}/v2/${FEED}/app`, headers: { authorization: `Bearer ${key}` } } }
}

function compare(what: string, samples: ReadonlyMap<string, readonly number[]>, note: string): Finding {
  const ours = samples.get('feedmesh') ?? []
  const peer = samples.get('registry')
  return {
    what,
    ours: `${formatNumber(medianOf(ours))} MiB/s`,
    peer: peer === undefined ? NO_DOCKER_REGISTRY : `docker-registry ${formatNumber(medianOf(peer))} MiB/s`,
    ratio: peer === undefined ? null : medianOf(ours) / medianOf(peer),
    target: { atLeast: 1 },
    spread: Math.max(spreadOf(ours), peer === undefined ? 0 : spreadOf(peer)),
    note,
  }
}

async function measureBlobs({ folder, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const registries = new Map<string, Registry>([['feedmesh', (await startOwn(folder, stack)).registry]])
  if (isDockerRegistryInstalled()) {
    const peer = stack.use(await startDockerRegistry(join(folder, 'docker-registry')))
    registries.set('registry', { url: `${peer.url}/v2/${FEED}/app`, headers: {} })
  }
  const warmUp = makeBlobs(20)
  for (const registry of registries.values()) await pushAll(registry, warmUp)
  say(`pushing ${ROUNDS} times ${BLOBS} blobs`)
  const pushed = await alternate([...registries.keys()], ROUNDS, async (name) => {
    const blobs = makeBlobs(BLOBS)
    return (BLOBS * BLOB_BYTES) / MIB / (await pushAll(registries.get(name)!, blobs))
  })
  say('pulling')
  const pulled = await alternate([...registries.keys()], ROUNDS, async (name) => {
    const { url, headers } = registries.get(name)!
    const requests = warmUp.map(({ digest }) => renderRequest({ url: `${url}/blobs/${digest}`, headers }))
    const rate = await measureRate({ url, requests, connections: PULL_CONNECTIONS, durationMs: PULL_MS, status: 200 })
    return (rate * BLOB_BYTES) / MIB
  })
  return [
    compare(`1 MB blobs pushed, ${PUSH_CONNECTIONS} connections`, pushed, 'POST, PATCH, PUT; ours is synced to disk'),
    compare(`1 MB blobs pulled, ${PULL_CONNECTIONS} connections`, pulled, ''),
  ]
}

/** As many random bytes as asked for, in pieces of 64 KiB. */
function* layerBytes(size: number, hash: ReturnType<typeof createHash>): Generator<Buffer> {
  const block = randomBytes(64 * 1024)
  for (let at = 0; at < size; at += block.length) {
    const piece = Buffer.from(block.subarray(0, Math.min(block.length, size - at)))
    piece.writeDoubleBE(at)
    hash.update(piece)
    yield piece
  }
}

/** @returns status and Location */
async function sendStream(method: string, { url, headers }: Registry, body: Readable): Promise<string> {
  const sent = request(url, { method, headers })
  const answered = new Promise<string>((resolve, reject) => {
    sent.once('error', reject)
    sent.once('response', (answer) => {
      answer.resume()
      if (answer.statusCode !== 202 && answer.statusCode !== 201)
        reject(new Error(`${method} ${url}: ${answer.statusCode}`))
      else resolve(answer.headers.location ?? '')
    })
  })
  const [location] = await Promise.all([answered, pipeline(body, sent)])
  return new URL(location, url).href
}

async function measureLayer({ folder, full, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const { node, registry } = await startOwn(join(folder, 'layer'), stack)
  const size = (full ? 2048 : 512) * MIB
  const { headers } = registry
  await pushAll(registry, makeBlobs(5))
  const before = await node.child.call('use')
  say(`a layer of ${formatBytes(size)} in`)
  const hash = createHash('sha256')
  const begun = await sendStream('POST', { url: `${registry.url}/blobs/uploads/`, headers }, Readable.from([]))
  let sent = ''
  const inSeconds = await timed(async () => {
    sent = await sendStream(
      'PATCH',
      { url: begun, headers },
      Readable.from(layerBytes(size, hash), { objectMode: false }),
    )
  })
  const digest = `sha256:${hash.digest('hex')}`
  await sendStream('PUT', { url: `${sent}?digest=${digest}`, headers }, Readable.from([]))
  const after = await node.child.call('use')
  say('and out')
  let received = 0
  const outSeconds = await timed(async () => {
    const answer = await fetch(`${registry.url}/blobs/${digest}`, { headers })
    for await (const piece of answer.body ?? []) received += (piece as Uint8Array).length
  })
  if (received !== size) throw new Error(`${received} of ${size} bytes came back`)
  const end = await node.child.call('use')
  const finding = (what: string, peak: number, seconds: number): Finding => ({
    what: `${formatBytes(size)} layer ${what}, memory`,
    ours: formatBytes(peak),
    peer: formatBytes(MAX_PEAK_BYTES),
    ratio: peak / MAX_PEAK_BYTES,
    target: { atMost: 1 },
    spread: null,
    note: `peak; ${formatBytes(before.peakRssBytes)} before; ${formatNumber(size / MIB / seconds)} MiB/s`,
  })
  return [finding('pushed', after.peakRssBytes, inSeconds), finding('pulled', end.peakRssBytes, outSeconds)]
}

export const dockerBlobs: Bench = {
  name: 'docker-blobs',
  about: 'blobs pushed and pulled against docker-registry, and memory while a large layer streams',
  // The layer first: the peak of a new process begins with that of the process it is made by.
  run: async (lab) => {
    const layer = await measureLayer(lab)
    return [...(await measureBlobs(lab)), ...layer]
  },
}
