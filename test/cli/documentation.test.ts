import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Command } from 'commander'
import { createProgram } from '../../src/cli/command-line.ts'
import { findCure } from '../../src/cli/cures.ts'
import { listExplanations } from '../../src/cli/explain.ts'
import { ERROR_KINDS, type ErrorCode } from '../../src/errors.ts'
import { PROBLEM_CODES } from '../../src/problem-codes.ts'
import { runCommand } from './command.ts'

function listCommands(command: Command, path = ''): string[] {
  return command.commands
    .filter((sub) => !sub.name().startsWith('_'))
    .flatMap((sub) => {
      const name = `${path} ${sub.name()}`.trim()
      const isGroup = sub.commands.length > 0 && name !== 'peers'
      return isGroup ? listCommands(sub, name) : [name, ...listCommands(sub, name)]
    })
}

const program = createProgram(() => async () => undefined)

test('README.md lists every command, and no other', () => {
  const readme = readFileSync(new URL('../../src/cli/README.md', import.meta.url), 'utf8')
  const table = readme.split('| exit code')[0] ?? ''
  const listed = [...table.matchAll(/^\| `([a-z -]+)` +\|/gm)].map(([, name]) => name ?? '')
  assert.deepEqual(listed.sort(), listCommands(program).sort())
})

test('README.md and --help list every exit code', async () => {
  const readme = readFileSync(new URL('../../src/cli/README.md', import.meta.url), 'utf8')
  const { stdout } = await runCommand(['--help'])
  const used = new Set<number>([0, ...Object.values(ERROR_KINDS).map(({ exit }) => exit)])
  for (const code of used) {
    assert.match(readme, new RegExp(`^\\| ${code} +\\|`, 'm'))
    assert.match(stdout, new RegExp(`[ :]${code} [a-z]`))
  }
})

test('every command has help that names its options and the common ones', async () => {
  const helps = await Promise.all(
    ['', ...listCommands(program)].map(async (name) => ({
      name,
      ...(await runCommand([...name.split(' ').filter(Boolean), '--help'])),
    })),
  )
  for (const { name, exitCode, stdout, stderr } of helps) {
    assert.equal(exitCode, 0, name)
    assert.equal(stderr, '', name)
    assert.match(stdout, new RegExp(`^Usage: feedmesh ${name}`.trimEnd()), name)
    for (const option of ['--data', '--json', '--quiet']) assert.ok(stdout.includes(option), `${name} ${option}`)
  }
})

test('every error and problem code has a meaning and a cure', async () => {
  const explained = await listExplanations()
  const codes = [...new Set([...Object.keys(ERROR_KINDS), ...Object.keys(PROBLEM_CODES)])].sort()
  assert.deepEqual(
    explained.map(({ code }) => code),
    codes,
  )
  for (const { code, error, problem } of explained) {
    assert.ok((error?.meaning ?? problem?.meaning ?? '').length > 10, code)
    assert.ok(error !== undefined || problem !== undefined)
  }
  for (const code of Object.keys(ERROR_KINDS) as ErrorCode[]) assert.ok(findCure(code, 'feed show').length > 5, code)
})

test('explain needs no node, and knows what was meant', async () => {
  const one = await runCommand(['explain', 'token-expired', '--json'])
  assert.deepEqual(JSON.parse(one.stdout), {
    code: 'TOKEN_EXPIRED',
    error: {
      ...ERROR_KINDS.TOKEN_EXPIRED,
      cure: 'at the other end: feedmesh replication add --incoming --token new',
    },
  })
  const typo = await runCommand(['explain', 'TOKEN_EXPRIED'])
  assert.equal(typo.exitCode, 1)
  assert.match(typo.stderr, /Did you mean TOKEN_EXPIRED\?[^]*Try: feedmesh explain/)
})

const complete = async (...words: string[]) => (await runCommand(['__complete', '--', ...words])).stdout.split('\n')

test('completion knows commands, options and choices', async () => {
  assert.ok((await complete('repl')).includes('replication'))
  assert.ok((await complete('replication', '')).includes('add'))
  assert.ok((await complete('replication', 'add', '--mo')).includes('--mode'))
  assert.deepEqual((await complete('replication', 'add', '--mode', 'p')).filter(Boolean), ['push', 'pull'])
  assert.ok((await complete('completion', '')).includes('fish'))
  const scripts = await Promise.all(['bash', 'zsh', 'fish'].map((shell) => runCommand(['completion', shell])))
  for (const { stdout } of scripts) assert.match(stdout, /feedmesh __complete/)
})
