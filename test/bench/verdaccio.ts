/** Verdaccio in a process of its own, as it is shipped, without uplink and with anonymous publishing. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findFreePort } from './free-port.ts'
import { requestOnce } from './http-connection.ts'

export interface Peer extends AsyncDisposable {
  readonly url: string
}

function findVerdaccio(): string | undefined {
  const home = process.env.FEEDMESH_BENCH ?? resolve(import.meta.dirname, '../../node_modules/.cache/feedmesh-bench')
  const path = join(home, 'verdaccio/node_modules/verdaccio/bin/verdaccio')
  return existsSync(path) ? path : undefined
}

export function isVerdaccioInstalled(): boolean {
  return findVerdaccio() !== undefined
}

export const NO_VERDACCIO = 'skipped: Verdaccio is not installed (test/bench/install-peers.sh)'

function renderConfig(folder: string): string {
  return [
    `storage: ${join(folder, 'storage')}`,
    `auth: { htpasswd: { file: ${join(folder, 'htpasswd')} } }`,
    'uplinks: {}',
    "packages: { '**': { access: $all, publish: $all, unpublish: $all } }",
    'max_body_size: 100mb',
    'middlewares: { audit: { enabled: false } }',
    'web: { enable: false }',
    'server: { keepAliveTimeout: 60 }',
    'log: { type: stdout, format: json, level: http }',
    '',
  ].join('\n')
}

const START_TIMEOUT_MS = 60_000

async function isUp(url: string): Promise<boolean> {
  try {
    return (await requestOnce({ url: `${url}-/ping` })).status === 200
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return false
    throw error
  }
}

export async function startVerdaccio(folder: string): Promise<Peer> {
  const program = findVerdaccio()
  if (program === undefined) throw new Error(NO_VERDACCIO)
  await mkdir(folder, { recursive: true })
  const config = join(folder, 'config.yaml')
  await writeFile(config, renderConfig(folder))
  const port = await findFreePort()
  const child = spawn(process.execPath, [program, '--config', config, '--listen', `127.0.0.1:${port}`], {
    stdio: 'ignore',
    cwd: folder,
  })
  const url = `http://127.0.0.1:${port}/`
  const deadline = Date.now() + START_TIMEOUT_MS
  while (!(await isUp(url))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`Verdaccio did not start: ${child.exitCode}`)
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
