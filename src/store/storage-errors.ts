/** What the disk or the database reported, as one of our errors. */

import { FeedmeshError } from '../errors.ts'

type StorageCode = 'DATA_IN_USE' | 'CORRUPT' | 'STORAGE_FULL' | 'STORAGE_IO'

const FULL = /\b(?:ENOSPC|EDQUOT)\b|no space left on device|disk quota exceeded/i

/** The error and what caused it, outermost first; bounded, because a chain may be circular. */
function causes(error: unknown): Error[] {
  const chain: Error[] = []
  let next = error
  while (next instanceof Error && chain.length < 8) {
    chain.push(next)
    next = next.cause
  }
  return chain
}

export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Whether `error` says that the file or folder does not exist. */
export function isAbsent(error: unknown): boolean {
  return systemCode(error) === 'ENOENT'
}

function codeOf(chain: readonly Error[]): StorageCode {
  const codes = chain.map(systemCode)
  if (codes.includes('LEVEL_LOCKED')) return 'DATA_IN_USE'
  if (codes.includes('LEVEL_CORRUPTION')) return 'CORRUPT'
  if (chain.some((error) => FULL.test(`${systemCode(error) ?? ''} ${error.message}`))) return 'STORAGE_FULL'
  return 'STORAGE_IO'
}

function render(code: StorageCode, what: string, reason: string): string {
  switch (code) {
    case 'DATA_IN_USE':
      return `${what}: another process has the folder open; stop that process, or give this node a data folder of its own`
    case 'CORRUPT':
      return `${what}: ${reason}; stop the node, move the folder away and restore it from a backup, or start with an empty one and link the feeds again to fetch them from their peers`
    case 'STORAGE_FULL':
      return `${what}: the disk is full or a quota is reached; free some space, then try again (no restart is needed)`
    case 'STORAGE_IO':
      return `${what}: ${reason}; check the disk and the permissions of the data folder`
  }
}

/**
 * DATA_IN_USE, CORRUPT, STORAGE_FULL or STORAGE_IO, told apart by the whole chain of causes; ours pass unchanged.
 * `what` says what was being done and to which path.
 */
export function asStorageError(error: unknown, what: string): FeedmeshError {
  if (error instanceof FeedmeshError) return error
  const chain = causes(error)
  const code = codeOf(chain)
  return new FeedmeshError(code, render(code, what, chain.at(-1)?.message ?? String(error)), { cause: error })
}
