/** Aligned columns for people. */

import { type Output, visible } from './output.ts'

export type Cell = string | number

/** Numbers are aligned right. With no rows: `empty`, a sentence that says how to get some. */
export function renderTable(
  output: Output,
  headers: readonly string[],
  rows: readonly (readonly Cell[])[],
  empty: string,
): string {
  if (rows.length === 0) return empty
  const cells = rows.map((row) => row.map((cell) => visible(String(cell))))
  const widths = headers.map((header, column) =>
    Math.max(header.length, ...cells.map((row) => (row[column] ?? '').length)),
  )
  const isNumeric = headers.map((_, column) => rows.every((row) => typeof row[column] === 'number'))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        isNumeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [output.paint('bold', line(headers)), ...cells.map(line)].join('\n')
}

/** `name: value` lines, aligned. */
export function renderFields(output: Output, fields: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length))
  return fields
    .map(([name, value]) => `${output.paint('bold', name.padEnd(width))}  ${visible(String(value))}`)
    .join('\n')
}
