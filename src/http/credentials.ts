/** Where clients put their API key: Basic (any user name), Bearer, X-ApiKey, X-NuGet-ApiKey. */

import type { IncomingHttpHeaders } from 'node:http'
import { ANONYMOUS_TOKEN } from '../feeds/feed-type.ts'

const KEY_HEADERS = ['x-apikey', 'x-nuget-apikey'] as const

/** Every key of a request, the explicit headers first: NuGet sends one beside the Basic credentials of the source. */
export function parseKeys(headers: IncomingHttpHeaders): string[] {
  const keys: string[] = []
  for (const name of KEY_HEADERS) keys.push(...[headers[name] ?? []].flat())
  const authorization = parseAuthorization(headers.authorization ?? '')
  if (authorization !== undefined) keys.push(authorization)
  return keys.filter((key) => key !== '')
}

function parseAuthorization(header: string): string | undefined {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +(.*)$/.exec(header.trim()) ?? []
  if (scheme.toLowerCase() === 'bearer') return credentials === ANONYMOUS_TOKEN ? undefined : credentials
  if (scheme.toLowerCase() !== 'basic') return undefined
  const decoded = Buffer.from(credentials, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  return colon < 0 ? undefined : decoded.slice(colon + 1)
}
