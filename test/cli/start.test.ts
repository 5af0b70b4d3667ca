import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { keys, u32 } from '../../src/store/keys.ts'
import { createLevel } from '../../src/store/level-database.ts'
import { openLevelRecords } from '../../src/store/level-records.ts'
import { cleanEnv, MAIN, runCommand } from './command.ts'

const FREE = ['--http', '127.0.0.1:0', '--listen', '/ip4/127.0.0.1/tcp/0', '--log-level', 'error']

async function createFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'feedmesh-start-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

function start(args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, 'start', ...FREE, ...args], {
    env: cleanEnv({}),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit') as Promise<[number | null]>
  return {
    child,
    exited,
    stderr: text(child.stderr),
    lines: createInterface({ input: child.stdout })[Symbol.asyncIterator](),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

test('start makes the data folder, says when it is ready, answers commands, and stops cleanly', async () => {
  await using folder = await createFolder()
  const data = join(folder.path, 'data')
  await using node = start(['--json', '--data', data])
  const { value } = await node.lines.next()
  const ready = JSON.parse(String(value)) as { event: string; http: string; peerId: string; listen: string[] }
  assert.equal(ready.event, 'ready')
  assert.match(ready.http, /^http:\/\/127\.0\.0\.1:\d+$/)
  assert.ok(ready.listen[0]?.startsWith('/ip4/127.0.0.1/tcp/'))
  assert.doesNotMatch(String(value), /fmk_/)
  assert.equal((await stat(data)).mode & 0o077, 0)
  const status = await runCommand(['status', '--json', '--data', data])
  assert.equal((JSON.parse(status.stdout) as { peerId: string }).peerId, ready.peerId)
  const byEnv = await runCommand(['feed', 'create', 'tools', '--type', 'npm', '--json'], {
    env: { FEEDMESH_DATA: data },
  })
  assert.equal(byEnv.exitCode, 0, byEnv.stderr)
  node.child.kill('SIGTERM')
  assert.equal((await node.exited)[0], 0)
  assert.match(await node.stderr, /Admin key of the operator \(shown this once\): fmk_/)
  const stopped = await runCommand(['status', '--data', data])
  assert.equal(stopped.exitCode, 3)
})

test('init prints the admin key once, and its configuration is used', async () => {
  await using folder = await createFolder()
  const data = join(folder.path, 'data')
  const init = await runCommand(['init', '--json', '--data', data, '--site', 'paris', ...FREE.slice(0, 4)])
  assert.equal(init.exitCode, 0, init.stderr)
  const { peerId, adminKey } = JSON.parse(init.stdout) as { peerId: string; adminKey: string }
  const again = await runCommand(['init', '--json', '--data', data])
  assert.equal(again.exitCode, 1)
  assert.match(again.stderr, /EXISTS/)
  await using node = start(['--data', data])
  const line = String((await node.lines.next()).value)
  assert.ok(line.includes(peerId))
  const [url = ''] = /http:\S+/.exec(line) ?? []
  const env = { FEEDMESH_URL: url, FEEDMESH_API_KEY: adminKey }
  assert.equal((await runCommand(['status'], { env })).exitCode, 0)
  node.child.kill('SIGINT')
  assert.equal((await node.exited)[0], 0)
  assert.doesNotMatch(await node.stderr, /fmk_/)
})

/** Path → content and time of its last change, of every file under a folder. */
async function readFolder(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const read = async (file: string) => `${(await stat(file)).mtimeMs} ${(await readFile(file)).toString('hex')}`
  return new Map(await Promise.all(files.map(async (file) => [file, await read(file)] as const)))
}

test('a data folder of a newer version is refused with both versions, and nothing in it is touched', async () => {
  await using folder = await createFolder()
  const data = join(folder.path, 'data')
  assert.equal((await runCommand(['init', '--data', data, ...FREE.slice(0, 4)])).exitCode, 0)
  // What a newer version may have left: a key of the configuration that this one does not know.
  await writeFile(join(data, 'schema'), '2\n')
  await writeFile(join(data, 'config.json'), '{"fromTheFuture": true}\n')
  const before = await readFolder(data)
  await using node = start(['--json', '--data', data])
  assert.equal((await node.exited)[0], 1)
  const { error } = JSON.parse(await node.stderr) as { error: { code: string; message: string; cure: string } }
  assert.equal(error.code, 'DATA_NEWER')
  assert.match(error.message, /schema version 2, this program knows 1: start the newer Feedmesh again, or restore/)
  assert.match(error.cure, /install the newer version/)
  assert.deepEqual(await readFolder(data), before)
})

test('a version that only the database tells of is refused too, and its records stay as they are', async () => {
  await using folder = await createFolder()
  const data = join(folder.path, 'data')
  assert.equal((await runCommand(['init', '--data', data, ...FREE.slice(0, 4)])).exitCode, 0)
  const records = join(data, 'records')
  const dump = async (): Promise<string[]> => {
    const database = createLevel(records)
    await database.open()
    try {
      return (await database.iterator().all()).map((entry) =>
        entry.map((part) => Buffer.from(part).toString('hex')).join(' '),
      )
    } finally {
      await database.close()
    }
  }
  {
    await using database = await openLevelRecords({ directory: records })
    await database.write([{ type: 'put', key: keys.fact('schema'), value: u32(7) }])
  }
  const before = await dump()
  await using node = start(['--json', '--data', data])
  assert.equal((await node.exited)[0], 1)
  assert.match(await node.stderr, /DATA_NEWER[^]*schema version 7, this program knows 1/)
  assert.deepEqual(await dump(), before)
})

test('a key of the configuration that is not known is refused by name', async () => {
  await using folder = await createFolder()
  const data = join(folder.path, 'data')
  assert.equal((await runCommand(['init', '--data', data])).exitCode, 0)
  await writeFile(join(data, 'config.json'), '{"fromTheFuture": true}\n')
  const refused = await runCommand(['start', '--json', '--data', data])
  assert.equal(refused.exitCode, 2)
  assert.match(refused.stderr, /unknown key fromTheFuture; known are http/)
})

test('options that cannot be used are refused with exit code 2', async () => {
  await using folder = await createFolder()
  const data = ['--json', '--data', join(folder.path, 'data')]
  const cases = [
    [['--http', 'nonsense'], /http must be HOST:PORT/],
    [['--tls-cert', 'a.pem'], /--tls-cert and --tls-key go together/],
    [['--log-level', 'loud'], /Allowed choices/],
    [['--trust-proxy', 'proxy', ...FREE], /not a CIDR/],
  ] as const
  for (const [args, message] of cases) {
    const refused = await runCommand(['start', ...args, ...data])
    assert.equal(refused.exitCode, 2, refused.stderr)
    assert.match(refused.stderr, message)
  }
})
