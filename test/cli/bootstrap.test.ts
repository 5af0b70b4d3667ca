import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const BOOTSTRAP = resolve(import.meta.dirname, '../../bootstrap/feedmesh.cjs')

test('the command runs on this Node', () => {
  const { status, stdout } = spawnSync(process.execPath, [BOOTSTRAP, 'explain', 'FORGED', '--json'], {
    encoding: 'utf8',
  })
  assert.equal(status, 0)
  assert.match(stdout, /"code":"FORGED"/)
})

test('an older Node is told in one line which one is needed', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'feedmesh-old-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const preload = join(folder, 'old.cjs')
  for (const [version, isRefused] of [
    ['8.17.0', true],
    ['22.20.0', true],
    ['24.11.1', true],
    ['24.12.0', false],
    ['26.0.0', false],
  ] as const) {
    const versions = `Object.assign({}, process.versions, { node: '${version}' })`
    writeFileSync(preload, `Object.defineProperty(process, 'versions', { value: ${versions} })`)
    const args = ['--require', preload, BOOTSTRAP, 'explain', 'FORGED']
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    assert.equal(status, isRefused ? 1 : 0, version)
    assert.match(stderr, isRefused ? /^feedmesh needs Node 24\.12 or newer.*\n$/ : /^$/)
  }
})
