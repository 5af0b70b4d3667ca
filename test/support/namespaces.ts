/** Hosts of their own in network namespaces: joined by a switch, cut off and joined again. Needs root and iproute2. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'

/** Carries the packets of one host; none of its addresses exist outside of the namespaces. */
export interface NamespaceHost {
  readonly address: string
  /** Starts a program on the host. */
  spawn(command: string, args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess
  /** Packets are dropped in both directions, and nobody is told. */
  cut(): void
  join(): void
}

export interface NamespaceNetwork extends Disposable {
  readonly hosts: readonly NamespaceHost[]
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' })
}

/** Why there can be none here, undefined when there can. */
export function findNamespaceObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'network namespaces need root on Linux'
  const name = `fm${process.pid}t`
  try {
    ip('netns', 'add', name)
    ip('netns', 'delete', name)
    return undefined
  } catch (error) {
    return `no network namespace can be made here: ${(error as Error).message.split('\n')[0]}`
  }
}

function openHost(network: string, number: number): NamespaceHost {
  const name = `${network}-${number}`
  const port = `port${number}`
  const address = `10.203.0.${number}`
  ip('netns', 'add', name)
  ip('link', 'add', port, 'netns', network, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
  ip('-n', network, 'link', 'set', port, 'master', 'bridge', 'up')
  ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0')
  for (const device of ['lo', 'eth0']) ip('-n', name, 'link', 'set', device, 'up')
  return {
    address,
    spawn: (command, args, env) =>
      spawn('ip', ['netns', 'exec', name, command, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] }),
    cut: () => ip('-n', network, 'link', 'set', port, 'nomaster'),
    join: () => ip('-n', network, 'link', 'set', port, 'master', 'bridge'),
  }
}

/** @returns `count` hosts on one switch, 10.203.0.1 and up */
export function openNamespaceNetwork(count: number): NamespaceNetwork {
  const network = `fm${process.pid}`
  const names = [network, ...Array.from({ length: count }, (_, index) => `${network}-${index + 1}`)]
  const remove = () => {
    const present = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    for (const name of names.filter((one) => new RegExp(`^${one}\\b`, 'm').test(present))) ip('netns', 'delete', name)
  }
  try {
    ip('netns', 'add', network)
    ip('-n', network, 'link', 'add', 'bridge', 'type', 'bridge')
    ip('-n', network, 'link', 'set', 'bridge', 'up')
    const hosts = Array.from({ length: count }, (_, index) => openHost(network, index + 1))
    return { hosts, [Symbol.dispose]: remove }
  } catch (error) {
    remove()
    throw error
  }
}
