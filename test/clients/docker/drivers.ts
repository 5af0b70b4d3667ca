/** The clients of registries, each with a home of its own, logged in by its own means. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Command, createFolder, findProgram, type RunResult, run, runOk } from '../run-client.ts'

export interface RegistryTarget {
  /** `127.0.0.1:PORT` */
  readonly host: string
  readonly feed: string
  /** API key that may read, publish and delete; none = anonymous. */
  readonly key?: string
  readonly t: TestContext
}

export type ClientName = 'skopeo' | 'podman' | 'buildah' | 'umoci' | 'crane' | 'oras' | 'helm'

export function findClient(name: ClientName): Command | undefined {
  return findProgram(name)
}

export function missing(...clients: readonly ClientName[]): string | false {
  const absent = clients.filter((client) => findClient(client) === undefined)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')}`
}

export interface Workbench {
  readonly folder: string
  /** `127.0.0.1:PORT/FEED` */
  readonly images: string
  readonly target: RegistryTarget
  readonly ok: (client: ClientName, ...args: string[]) => Promise<string>
  readonly run: (client: ClientName, ...args: string[]) => Promise<RunResult>
}

export async function openWorkbench(target: RegistryTarget): Promise<Workbench> {
  const folder = await createFolder(target.t)
  const auth = join(folder, 'auth.json')
  const docker = join(folder, '.docker')
  const login = target.key === undefined ? undefined : Buffer.from(`api:${target.key}`).toString('base64')
  const auths = login === undefined ? {} : { [target.host]: { auth: login } }
  await mkdir(docker)
  for (const file of [auth, join(docker, 'config.json')]) await writeFile(file, JSON.stringify({ auths }))
  const policy = join(folder, 'policy.json')
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }))
  const env = {
    HOME: folder,
    REGISTRY_AUTH_FILE: auth,
    DOCKER_CONFIG: docker,
    XDG_RUNTIME_DIR: folder,
    HELM_REGISTRY_CONFIG: join(docker, 'config.json'),
  }
  const options = { cwd: folder, env }
  const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs']
  const before: Readonly<Partial<Record<ClientName, readonly string[]>>> = {
    skopeo: ['--policy', policy],
    podman: [...storage, '--cgroup-manager', 'cgroupfs', '--events-backend', 'file'],
    buildah: storage,
    crane: ['--insecure'],
  }
  const command = (client: ClientName): Command => {
    const found = findClient(client)
    if (found === undefined) throw new Error(`${client} is not installed`)
    return { file: found.file, prefix: [...found.prefix, ...(before[client] ?? [])] }
  }
  return {
    folder,
    images: `${target.host}/${target.feed}`,
    target,
    ok: (client, ...args) => runOk(command(client), args, options),
    run: (client, ...args) => run(command(client), args, options),
  }
}
