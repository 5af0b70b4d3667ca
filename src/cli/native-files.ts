/** Which files of a folder are packages of a feed type. A type that is not listed takes every file. */

const SUFFIXES: Readonly<Record<string, readonly string[]>> = { npm: ['.tgz', '.tar.gz'] }

/** Why `name` is left out of an import, or undefined when it is taken. */
export function findReasonToSkip(feedType: string, name: string): string | undefined {
  if (name.split('/').some((part) => part.startsWith('.'))) return 'hidden'
  const suffixes = Object.hasOwn(SUFFIXES, feedType) ? SUFFIXES[feedType] : undefined
  if (suffixes === undefined || suffixes.some((suffix) => name.toLowerCase().endsWith(suffix))) return undefined
  return `not a ${feedType} package: it does not end in ${suffixes.join(' or ')}`
}
