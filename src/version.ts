/** Version of this software, and when it was made: a clock that says earlier is wrong. */

export const VERSION = '0.1.0'
export const BUILD_TIME_MS = Date.parse('2026-11-23T00:00:00Z')
