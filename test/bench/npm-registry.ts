/** The registries that npm benchmarks compare, behind one face. */

import { join } from 'node:path'
import { renderRequest, requestOnce } from './http-connection.ts'
import { type SentAll, sendAll } from './http-load.ts'
import { type BenchNode, startNode } from './node-process.ts'
import { createDocument, type PublishedVersion } from './npm-documents.ts'
import { isVerdaccioInstalled, startVerdaccio } from './verdaccio.ts'

export interface Registry {
  /** With a slash at the end. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

export interface OwnRegistry extends Registry {
  readonly node: BenchNode
}

export const FEED = 'packages'

export async function startOwnRegistry(folder: string, stack: AsyncDisposableStack): Promise<OwnRegistry> {
  const node = stack.use(await startNode(join(folder, 'feedmesh')))
  await node.child.call('createFeed', node.folder, FEED, 'npm')
  const key = await node.child.call('createKey', node.folder, FEED)
  return { url: `${node.http}/npm/${FEED}/`, headers: { authorization: `Bearer ${key}` }, node }
}

/** Undefined when Verdaccio is not installed. */
export async function findVerdaccioRegistry(
  folder: string,
  stack: AsyncDisposableStack,
): Promise<Registry | undefined> {
  if (!isVerdaccioInstalled()) return undefined
  const { url } = stack.use(await startVerdaccio(join(folder, 'verdaccio')))
  return { url, headers: {} }
}

export async function renderPublish(registry: Registry, version: PublishedVersion): Promise<Buffer> {
  const body = await createDocument(version)
  const headers = { ...registry.headers, 'content-type': 'application/json', 'npm-command': 'publish' }
  return renderRequest({ method: 'PUT', url: `${registry.url}${version.name}`, headers, body })
}

export async function publishAll(
  registry: Registry,
  versions: readonly PublishedVersion[],
  connections: number,
): Promise<SentAll> {
  const requests: Buffer[] = []
  for (const version of versions) requests.push(await renderPublish(registry, version))
  return await sendAll(registry.url, requests, connections)
}

const ABBREVIATED = 'application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*'

export function packumentHeaders(registry: Registry, kind: 'full' | 'abbreviated'): Record<string, string> {
  const accept = kind === 'full' ? 'application/json' : ABBREVIATED
  return { ...registry.headers, accept, 'accept-encoding': 'gzip' }
}

/** What a client is sent for the packument. */
export async function getPackument(registry: Registry, name: string, kind: 'full' | 'abbreviated') {
  const answer = await requestOnce({ url: `${registry.url}${name}`, headers: packumentHeaders(registry, kind) })
  if (answer.status !== 200) throw new Error(`packument of ${name}: ${answer.status}`)
  return answer
}
