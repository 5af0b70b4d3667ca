/** `feedmesh doctor` */

import type { Command } from 'commander'
import type { Problem } from '../http/operations.ts'
import type { Act } from './context.ts'
import { type Output, visible } from './output.ts'

export function registerDoctorCommand(program: Command, act: Act): void {
  program
    .command('doctor')
    .description('every open problem with its cause and cure')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ problems: Problem[] }>('/doctor')
        const { problems } = document
        output.document(document, () =>
          problems.length === 0
            ? 'No problems are known.'
            : problems.map((problem) => renderProblem(output, problem)).join('\n\n'),
        )
      }),
    )
}

function renderProblem(output: Output, { code, subject, message, cure, since }: Problem): string {
  const title = `${output.paint('yellow', code)}  ${visible(subject)}  since ${visible(since)}`
  return [title, `  ${visible(message)}`, `  Cure: ${visible(cure)}`].join('\n')
}
