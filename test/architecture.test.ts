/** The rules of the house that a reader can rely on, checked against every file. */

import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '..')

/** Who may import whom, by room; every room may import from itself. The drawing in the README shows the same. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'src/catalog': ['src/errors'],
  'src/store': ['src/catalog', 'src/errors', 'src/fault-points', 'src/log'],
  'protocols/mesh': ['src/catalog', 'src/errors'],
  'src/network': ['protocols/mesh', 'src/catalog', 'src/errors', 'src/log'],
  'src/feeds': ['src/ledger', 'src/store', 'src/catalog', 'src/errors'],
  'src/ledger': ['src/feeds', 'src/store', 'src/catalog', 'src/errors', 'src/fault-points'],
  'protocols/feeds': ['src/feeds', 'src/catalog', 'src/store', 'src/errors'],
  'src/fetching': ['src/errors'],
  'src/replication': [
    'protocols/mesh',
    'src/fetching',
    'src/network',
    'src/ledger',
    'src/feeds',
    'src/store',
    'src/catalog',
    'src/errors',
    'src/fault-points',
    'src/log',
  ],
  'src/nearby': [
    'protocols/mesh',
    'src/replication',
    'src/network',
    'src/ledger',
    'src/store',
    'src/catalog',
    'src/errors',
    'src/log',
  ],
  'src/indexing': ['src/feeds', 'src/ledger', 'src/store', 'src/catalog', 'src/errors'],
  'src/operations': [
    'src/indexing',
    'src/fault-points',
    'src/problem-codes',
    'src/replication',
    'src/ledger',
    'src/feeds',
    'src/network',
    'src/store',
    'src/catalog',
    'src/http',
    'src/errors',
    'src/version',
  ],
  'src/http': ['src/problem-codes', 'src/feeds', 'src/catalog', 'src/config', 'src/log', 'src/errors', 'src/version'],
  'src/cli': [
    'src/heap',
    'src/problem-codes',
    'src/node',
    'src/data-folder',
    'src/http',
    'src/feeds',
    'src/catalog',
    'src/config',
    'src/operations',
    'src/fault-points',
    'src/log',
    'src/errors',
    'src/version',
  ],
  'src/main': ['src/cli', 'src/errors', 'src/log', 'src/version'],
  'src/node': ['*'],
  'src/node-mesh': ['*'],
  'src/node-stores': ['*'],
  'src/data-folder': ['src/config', 'src/errors', 'src/network', 'src/operations', 'src/store'],
  'src/config': ['src/errors'],
  'src/errors': [],
  'src/fault-points': [],
  'src/heap': [],
  'src/log': [],
  'src/version': [],
  'src/problem-codes': [],
}

/** Imports that the table above would allow but that a reader must be able to rule out. */
const ONLY_CONTRACTS: Readonly<Record<string, readonly string[]>> = {
  // Feed types see contracts: no ledger, no database.
  'protocols/feeds → src/store': ['src/store/blobs.ts'],
  'protocols/feeds → src/feeds': ['src/feeds/feed.ts', 'src/feeds/feed-type.ts', 'src/feeds/signed-index.ts'],
  'protocols/feeds → src/catalog': ['src/catalog/view.ts', 'src/catalog/digest.ts', 'src/catalog/glob.ts'],
  'src/ledger → src/feeds': ['src/feeds/feed.ts'],
  'src/http → src/feeds': ['src/feeds/feed.ts', 'src/feeds/feed-type.ts', 'src/feeds/signed-index.ts'],
}

async function sourceFiles(folder: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  return files.map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
}

function roomOf(file: string): string {
  const parts = file.split('/')
  if (parts.length > 2) return parts.slice(0, 2).join('/')
  return file.replace(/\.ts$/, '')
}

function importsOf(source: string): string[] {
  const found = [
    ...source.matchAll(/^\s*(?:import|export)\s[^'"]*?from\s+'([^']+)'/gms),
    ...source.matchAll(/import\('([^']+)'\)/g),
    ...source.matchAll(/^import\s+'([^']+)'/gm),
  ]
  return found.map((match) => match[1] ?? '')
}

const files = [...(await sourceFiles('src')), ...(await sourceFiles('protocols'))].filter(
  (file) => !file.includes('/vectors/'),
)

test('arrows between the rooms go one way', async () => {
  const wrong: string[] = []
  for (const file of files) {
    const from = roomOf(file)
    const allowed = MAY_IMPORT[from]
    assert.ok(allowed, `${file}: no rule for the room ${from}`)
    for (const target of importsOf(await readFile(join(ROOT, file), 'utf8'))) {
      if (!target.startsWith('.')) continue
      const path = relative(ROOT, resolve(dirname(join(ROOT, file)), target))
      const to = roomOf(path)
      const contracts = ONLY_CONTRACTS[`${from} → ${to}`]
      const isAllowed =
        to === from ||
        ((allowed.includes('*') || allowed.includes(to)) && (contracts === undefined || contracts.includes(path)))
      if (!isAllowed) wrong.push(`${file} → ${path}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('only the network room knows libp2p', async () => {
  const wrong: string[] = []
  for (const file of files) {
    if (roomOf(file) === 'src/network') continue
    const foreign = importsOf(await readFile(join(ROOT, file), 'utf8')).filter((target) =>
      /^(@libp2p\/|libp2p$|@multiformats\/multiaddr)/.test(target),
    )
    if (foreign.length > 0) wrong.push(`${file} → ${foreign.join(', ')}`)
  }
  assert.deepEqual(wrong, [])
})

/** What completes or answers by something else than what was handed in, so that a simulation could not decide it. */
const OWN_CLOCK_OR_CHANCE =
  /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\b(set(Timeout|Interval|Immediate)|performance)\b|\bAbortSignal\.timeout\b|\bcrypto\.(random|getRandom|subtle)|\bprocess\.|import[^;]*?\b(random\w*|generateKey\w*|webcrypto|subtle)\b[^;]*?from 'node:crypto'|from 'node:(timers|perf_hooks|fs|dns|net|worker_threads|child_process)\b/

/** The one file of these rooms that is I/O itself. */
const REACH_OUTSIDE = ['src/ledger/floor.ts']

test('catalog, ledger, replication and the mesh protocols use no clock, no timer and no randomness of their own', async () => {
  const rooms = ['src/catalog', 'src/ledger', 'src/fetching', 'src/replication', 'src/nearby', 'protocols/mesh']
  const wrong: string[] = []
  for (const file of files.filter((each) => rooms.includes(roomOf(each)) && !REACH_OUTSIDE.includes(each))) {
    const source = (await readFile(join(ROOT, file), 'utf8')).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    const hit = OWN_CLOCK_OR_CHANCE.exec(source)
    if (hit !== null) wrong.push(`${file}: ${hit[0].slice(-80)}`)
  }
  assert.deepEqual(wrong, [])
})

test('what would take the clock, timers or chance out of a simulation’s hands is recognised', () => {
  for (const source of [
    'const at = Date.now()',
    'new Date()',
    'now = Math.random',
    'setTimeout(f, 1)',
    'AbortSignal.timeout(5)',
    'crypto.randomUUID()',
    "import { createHash, randomBytes } from 'node:crypto'",
    "import { setTimeout as wait } from 'node:timers/promises'",
    'await crypto.subtle.digest()',
    'process.hrtime()',
  ])
    assert.match(source, OWN_CLOCK_OR_CHANCE)
  for (const source of [
    'options.randomBytes(16)',
    'new Date(nowMs).toISOString()',
    "import { createHash, verify } from 'node:crypto'\nconst { randomBytes } = options\nimport type { A } from 'node:stream'",
    'setTimer(run, 5)',
  ])
    assert.doesNotMatch(source, OWN_CLOCK_OR_CHANCE)
})

test('only main.ts reads the command line and the environment, and ends the process', async () => {
  const wrong: string[] = []
  for (const file of files) {
    if (file === 'src/main.ts') continue
    const source = (await readFile(join(ROOT, file), 'utf8')).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    const hit = /process\.(exit\(|env|argv)/.exec(source)
    if (hit !== null) wrong.push(`${file}: ${hit[0]}`)
  }
  assert.deepEqual(wrong, [])
})
