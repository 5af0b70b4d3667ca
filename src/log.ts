/** Structured log of the node: JSON lines on stderr, secrets removed. */

import { type DestinationStream, type Logger, destination as openDestination, pino } from 'pino'

export type Log = Pick<Logger, 'error' | 'warn' | 'info' | 'debug' | 'child'>
export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug'

/** Replaces what could be a secret in a URL: user info, tokens in npm's logout path, token-like query parameters. */
export function redactUrl(url: string): string {
  return url
    .replace(/\/\/[^/@\s]*@/, '//')
    .replace(/(\/-\/(?:user\/token|npm\/v1\/tokens\/token)\/)[^/?#]+/, '$1[redacted]')
    .replace(/([?&](?:token|key|apikey|api_key|password|secret|code)=)[^&#]*/gi, '$1[redacted]')
}

/** Lines are written together, a moment later, while the process does something else; and the last ones when it ends. */
function openStderr(): DestinationStream {
  return openDestination({ dest: 2, sync: false, minLength: 12 * 1024, periodicFlush: 250 })
}

/** The level `silent` is for tests and for commands that print their own results. */
export function createLog(
  level: LogLevel,
  destination: DestinationStream = level === 'silent' ? process.stderr : openStderr(),
): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: ['token', 'key', 'secret', 'password', 'joinCode', '*.token', '*.secret', '*.password'],
        censor: '[redacted]',
      },
    },
    destination,
  )
}
