/**
 * Finds the handler for a decoded path. Package names take one segment or two (`@scope/name`), and clients write the
 * slash between as `/`, `%2f` or `%2F`; Fastify's own router cannot treat these alike.
 */

export interface PathRoute<H> {
  readonly methods: readonly string[]
  /** Segments; `:name` takes one segment, or a scope and the segment behind it. */
  readonly pattern: string
  readonly handler: H
}

export interface PathMatch<H> {
  readonly handler: H
  readonly parameters: Readonly<Record<string, string>>
}

export function createPathRouter<H>(routes: readonly PathRoute<H>[]) {
  const compiled = routes.map((route) => ({ ...route, segments: route.pattern.split('/').slice(1) }))
  return (method: string, path: readonly string[]): PathMatch<H> | undefined => {
    const segments = joinScopes(path)
    for (const { methods, segments: pattern, handler } of compiled) {
      const parameters = methods.includes(method) ? matchSegments(pattern, segments) : undefined
      if (parameters !== undefined) return { handler, parameters }
    }
    return undefined
  }
}

function joinScopes(path: readonly string[]): string[] {
  const segments: string[] = []
  for (const segment of path) {
    const scope = segments.at(-1)
    if (scope !== undefined && scope.length > 1 && scope.startsWith('@') && !scope.includes('/')) {
      segments[segments.length - 1] = `${scope}/${segment}`
    } else {
      segments.push(segment)
    }
  }
  return segments.at(-1) === '' ? segments.slice(0, -1) : segments
}

function matchSegments(pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined
  const parameters: Record<string, string> = {}
  for (const [at, part] of pattern.entries()) {
    const segment = segments[at] ?? ''
    if (part.startsWith(':')) parameters[part.slice(1)] = segment
    else if (part !== segment) return undefined
  }
  return parameters
}
