/** Debian's docker-registry (distribution 2.8) in a process of its own, with files on this disk and without login. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findFreePort } from './free-port.ts'
import { requestOnce } from './http-connection.ts'
import { findProgram } from './installed.ts'
import type { Peer } from './verdaccio.ts'

export const NO_DOCKER_REGISTRY = 'skipped: docker-registry is not installed (apt-get install docker-registry)'
const START_TIMEOUT_MS = 30_000

export function isDockerRegistryInstalled(): boolean {
  return findProgram('docker-registry') !== undefined
}

function renderConfig(folder: string, port: number): string {
  return [
    'version: 0.1',
    'log: { level: error, accesslog: { disabled: true } }',
    `storage: { filesystem: { rootdirectory: ${join(folder, 'storage')} }, cache: { blobdescriptor: inmemory }, delete: { enabled: true } }`,
    `http: { addr: 127.0.0.1:${port} }`,
    '',
  ].join('\n')
}

async function isUp(url: string): Promise<boolean> {
  try {
    return (await requestOnce({ url: `${url}/v2/` })).status === 200
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return false
    throw error
  }
}

export async function startDockerRegistry(folder: string): Promise<Peer> {
  const program = findProgram('docker-registry')
  if (program === undefined) throw new Error(NO_DOCKER_REGISTRY)
  await mkdir(folder, { recursive: true })
  const config = join(folder, 'config.yml')
  const port = await findFreePort()
  await writeFile(config, renderConfig(folder, port))
  const child = spawn(program, ['serve', config], {
    stdio: 'ignore',
    cwd: folder,
    env: { OTEL_TRACES_EXPORTER: 'none' },
  })
  const url = `http://127.0.0.1:${port}`
  const deadline = Date.now() + START_TIMEOUT_MS
  while (!(await isUp(url))) {
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error(`docker-registry did not start: ${child.exitCode}`)
    await delay(50)
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}
