/** `feedmesh explain CODE` */

import type { Command } from 'commander'
import { ERROR_KINDS, FeedmeshError, isErrorCode } from '../errors.ts'
import type { Act } from './context.ts'
import { findCure } from './cures.ts'
import { findSimilar } from './did-you-mean.ts'
import type { Output } from './output.ts'
import { renderTable } from './table.ts'

interface Explanation {
  readonly code: string
  /** What the code means as an error of a command or call. */
  readonly error?: { readonly meaning: string; readonly http: number; readonly exit: number; readonly cure: string }
  /** What it means as an open problem of the node. */
  readonly problem?: { readonly meaning: string; readonly cure: string }
}

export function registerExplainCommand(program: Command, act: Act): void {
  program
    .command('explain')
    .description('what an error or problem code means; without a code: all of them')
    .argument('[code]', 'such as TOKEN_EXPIRED')
    .action(
      act<[string | undefined]>(async ({ output }, [given]) => {
        const all = await listExplanations()
        if (given === undefined) {
          output.document({ codes: all }, () => renderAll(output, all))
          return
        }
        const code = given.toUpperCase().replaceAll('-', '_')
        const found = all.find((one) => one.code === code)
        if (found === undefined) throw unknownCode(given, code, all)
        output.document(found, () => renderOne(output, found))
      }),
    )
}

/** Every code of the error table and of the problem list. */
export async function listExplanations(): Promise<Explanation[]> {
  const { PROBLEM_CODES } = await import('../problem-codes.ts')
  const codes = [...new Set([...Object.keys(ERROR_KINDS), ...Object.keys(PROBLEM_CODES)])].sort()
  return codes.map((code) => {
    const meaning = PROBLEM_CODES[code as keyof typeof PROBLEM_CODES]
    const isProblem = Object.hasOwn(PROBLEM_CODES, code)
    const cure = 'feedmesh doctor shows the case with its cure'
    return {
      code,
      ...(isErrorCode(code) ? { error: { ...ERROR_KINDS[code], cure: findCure(code, '') } } : {}),
      ...(isProblem ? { problem: { meaning, cure } } : {}),
    }
  })
}

function unknownCode(given: string, code: string, all: readonly Explanation[]): FeedmeshError {
  const similar = findSimilar(
    code,
    all.map((one) => one.code),
  )
  const hint = similar === undefined ? '' : ` Did you mean ${similar}?`
  return new FeedmeshError('NOT_FOUND', `there is no code ${JSON.stringify(given)}.${hint}`)
}

function renderAll(output: Output, all: readonly Explanation[]): string {
  const rows = all.map(({ code, error, problem }) => [code, error?.meaning ?? problem?.meaning ?? ''])
  return renderTable(output, ['CODE', 'MEANING'], rows, '')
}

function renderOne(output: Output, { code, error, problem }: Explanation): string {
  const lines = [output.paint('bold', code)]
  if (error !== undefined)
    lines.push(
      `  As an error: ${error.meaning}`,
      `    HTTP status ${error.http}, exit code ${error.exit}`,
      `    Cure: ${error.cure}`,
    )
  if (problem !== undefined) lines.push(`  As a problem of the node: ${problem.meaning}`, `    Cure: ${problem.cure}`)
  return lines.join('\n')
}
