/** What curl and wget have to be able to do with an assets feed; runs against any node that serves one. */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Command, createFolder, findProgram, run, runOk } from '../run-client.ts'

export interface AssetsTarget {
  /** URL of the feed without a slash at its end: `http://127.0.0.1:PORT/endpoints/NAME`. */
  readonly url: string
  /** API key that may read, publish and delete. */
  readonly key: string
  readonly t: TestContext
}

interface Bench {
  readonly folder: string
  readonly content: Buffer
  readonly ok: (...args: string[]) => Promise<string>
  /** HTTP status of a call that may fail. */
  readonly status: (...args: string[]) => Promise<string>
}

export function findTool(name: 'curl' | 'wget'): Command | undefined {
  return findProgram(name)
}

async function openBench(target: AssetsTarget, tool: 'curl' | 'wget'): Promise<Bench> {
  const command = findTool(tool)
  if (command === undefined) throw new Error(`${tool} is not installed`)
  const folder = await createFolder(target.t)
  const content = randomBytes(3_000_000)
  await writeFile(join(folder, 'up.bin'), content)
  const login =
    tool === 'curl'
      ? ['-sS', '-u', `api:${target.key}`]
      : ['-nv', '--auth-no-challenge', '--user=api', `--password=${target.key}`]
  const options = { cwd: folder, env: { HOME: folder } }
  return {
    folder,
    content,
    ok: (...args) => runOk(command, [...login, ...(tool === 'curl' ? ['-f'] : []), ...args], options),
    status: async (...args) =>
      (await run(command, [...login, '-o', 'answer', '-w', '%{http_code}', ...args], options)).stdout,
  }
}

/** curl: put, get, resume, conditions, listing, chunked and multipart upload, delete. */
export async function curlScenario(target: AssetsTarget): Promise<void> {
  const { folder, content, ok, status } = await openBench(target, 'curl')
  const file = `${target.url}/content/curl/up.bin`
  const local = (name: string) => join(folder, name)
  await ok('-T', 'up.bin', `${target.url}/content/curl/`)
  await ok('-o', 'down.bin', file)
  assert.ok(content.equals(await readFile(local('down.bin'))))

  await truncate(local('down.bin'), 1_234_567)
  await ok('-C', '-', '-o', 'down.bin', file)
  assert.ok(content.equals(await readFile(local('down.bin'))), 'resumed')
  assert.equal(await status('-r', '5-9', file), '206')
  assert.ok(content.subarray(5, 10).equals(await readFile(local('answer'))))
  assert.equal(await status('-C', String(content.length), file), '416')

  assert.match(await ok('-I', file), new RegExp(`content-length: ${content.length}`, 'i'))
  await ok('--etag-save', 'etag', '-o', 'down.bin', file)
  assert.equal(await status('--etag-compare', 'etag', file), '304')
  assert.equal(await status('-H', 'If-None-Match: *', '-T', 'up.bin', file), '409')

  await ok('-X', 'POST', '--data-binary', '@up.bin', `${target.url}/content/curl/posted.bin`)
  await ok('-T', '-', '-H', 'Transfer-Encoding: chunked', `${target.url}/content/curl/empty.txt`)
  const listed = JSON.parse(await ok(`${target.url}/dir/curl`)) as { name: string; size: number; sha256: string }[]
  const sha256 = createHash('sha256').update(content).digest('hex')
  assert.deepEqual(
    listed.map(({ name, size }) => [name, size]),
    [
      ['empty.txt', 0],
      ['posted.bin', content.length],
      ['up.bin', content.length],
    ],
  )
  assert.equal(listed[1]?.sha256, sha256)
  assert.match(await ok('-H', 'Accept: text/html', `${target.url}/content/curl/`), /<a href="\.\/up\.bin">up\.bin<\/a>/)

  await checkParts(target, { folder, content, ok, status })
  assert.equal(await status('--path-as-is', '-T', 'up.bin', `${target.url}/content/curl/../../escape`), '400')
  await ok('-X', 'DELETE', file)
  assert.equal(await status(file), '404')
  assert.equal(await status('-X', 'POST', `${target.url}/delete/curl?recursive=true`), '200')
  assert.equal(await status(`${target.url}/dir/curl`), '404')
}

async function checkParts(target: AssetsTarget, { folder, content, ok }: Bench): Promise<void> {
  const partSize = 1_000_001
  const url = `${target.url}/content/curl/parts.bin`
  const totalParts = Math.ceil(content.length / partSize)
  for (let index = 0; index < totalParts; index += 1) {
    const part = content.subarray(index * partSize, (index + 1) * partSize)
    await writeFile(join(folder, 'part'), part)
    const place = `index=${index}&offset=${index * partSize}&partSize=${part.length}`
    const query = `multipart=upload&id=one&${place}&totalSize=${content.length}&totalParts=${totalParts}`
    await ok('-X', 'POST', '--data-binary', '@part', `${url}?${query}`)
  }
  await ok('-X', 'POST', '-d', '', `${url}?multipart=complete&id=one`)
  await ok('-o', 'down.bin', url)
  assert.ok(content.equals(await readFile(join(folder, 'down.bin'))), 'put together')
}

/** wget: get, resume, a complete file, upload, mirror of a folder's pages. */
export async function wgetScenario(target: AssetsTarget): Promise<void> {
  const { folder, content, ok } = await openBench(target, 'wget')
  const file = `${target.url}/content/wget/sub/up.bin`
  const down = join(folder, 'down.bin')
  await ok('--method=PUT', '--body-file=up.bin', '-O', 'answer', file)
  await ok('-O', 'down.bin', file)
  assert.ok(content.equals(await readFile(down)))
  await truncate(down, 777_777)
  await ok('-c', '-O', 'down.bin', file)
  assert.ok(content.equals(await readFile(down)), 'resumed')
  await ok('-c', '-O', 'down.bin', file)
  assert.ok(content.equals(await readFile(down)), 'complete already')
  await ok('-r', '-np', '-nH', '-P', 'mirror', '--header=Accept: text/html', `${target.url}/content/wget/`)
  const path = new URL(file).pathname
  assert.ok(content.equals(await readFile(join(folder, 'mirror', path))), 'found by the links of the pages')
}
