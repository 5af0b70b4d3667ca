/**
 * The one error class and the closed table of its codes.
 *
 * A code exists only where some caller acts on it differently: it picks the HTTP status, the exit code of the command
 * line, and whether a run retries. The message names the offending value, says what to do about it, never holds a secret.
 */

interface ErrorKind {
  /** HTTP status a client of the node sees. */
  readonly http: number
  /** Exit code of the command line: 1 failed, 2 wrong usage, 3 node not running, 4 partly done, 5 not permitted, 6 peer unreachable. */
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6
  /** One sentence: when this code is used. */
  readonly meaning: string
}

export const ERROR_KINDS = {
  BAD_INPUT: {
    http: 400,
    exit: 2,
    meaning: 'The request or command cannot be understood or breaks a rule of its format.',
  },
  BAD_PACKAGE: { http: 400, exit: 1, meaning: 'The uploaded file is not what it claims to be.' },
  UNAUTHENTICATED: { http: 401, exit: 5, meaning: 'No key was given, or it is unknown or revoked.' },
  FORBIDDEN: { http: 403, exit: 5, meaning: 'The key or peer is known but may not do this.' },
  NOT_FOUND: { http: 404, exit: 1, meaning: 'What was asked for is not here, or the asker may not know that it is.' },
  EXISTS: { http: 409, exit: 1, meaning: 'A version, feed or link of that name exists already.' },
  CONFLICT: {
    http: 409,
    exit: 1,
    meaning: 'The change was made against a state that is no longer the current one, or the version is blocked.',
  },
  TOO_LARGE: { http: 413, exit: 1, meaning: 'A body, file or frame is over its byte limit.' },
  RANGE: { http: 416, exit: 1, meaning: 'The byte range lies outside the file.' },
  BUSY: { http: 503, exit: 1, meaning: 'A limit on work in progress is reached; try again later.' },
  TIMEOUT: { http: 504, exit: 6, meaning: 'The other end did not answer, or not fast enough.' },
  ABORTED: { http: 503, exit: 1, meaning: 'The work was stopped, for example because the node is shutting down.' },
  STORAGE_FULL: { http: 507, exit: 1, meaning: 'The disk is full; nothing was stored.' },
  STORAGE_IO: { http: 500, exit: 1, meaning: 'The disk failed to read or write.' },
  CORRUPT: { http: 500, exit: 1, meaning: 'Stored bytes do not match their digest or cannot be read.' },
  DATA_IN_USE: { http: 500, exit: 1, meaning: 'Another process has the data folder open.' },
  DATA_NEWER: { http: 500, exit: 1, meaning: 'The data folder was written by a newer version.' },
  NODE_NOT_RUNNING: { http: 503, exit: 3, meaning: 'No node answers for this data folder.' },
  TOKEN_MISTYPED: {
    http: 400,
    exit: 2,
    meaning: 'The checksum of a token or join code does not fit: it was mistyped or cut off.',
  },
  TOKEN_UNKNOWN: { http: 403, exit: 5, meaning: 'The other end has no such token.' },
  TOKEN_EXPIRED: { http: 403, exit: 5, meaning: 'The token may no longer be used to link.' },
  TOKEN_USED_UP: { http: 403, exit: 5, meaning: 'The token was used as often as it may be.' },
  TOKEN_REVOKED: { http: 403, exit: 5, meaning: 'The token, the peer or the link was revoked.' },
  WRONG_HUB: {
    http: 400,
    exit: 2,
    meaning: 'The token belongs to another node than the one that answers at this URL.',
  },
  NOT_A_NODE: { http: 502, exit: 6, meaning: 'Something answers at the URL, but it is not a Feedmesh node.' },
  TYPE_MISMATCH: { http: 409, exit: 2, meaning: 'The two feeds are of different types.' },
  MODE_MISMATCH: {
    http: 409,
    exit: 2,
    meaning: 'The two ends do not complement each other (push with pull, mirror with mirror, incoming with outgoing).',
  },
  PEER_UNREACHABLE: { http: 502, exit: 6, meaning: 'No address of the peer answers.' },
  PEER_INVALID: { http: 502, exit: 1, meaning: 'The peer sent bytes that break the protocol or do not verify.' },
  FORGED: { http: 502, exit: 1, meaning: 'A signature, hash or binding of a signed object does not verify.' },
  ROLLED_BACK: { http: 502, exit: 1, meaning: 'A signed object is older than one already accepted.' },
  FORKED: { http: 502, exit: 1, meaning: 'The owner signed two different states under one number.' },
  IDENTITY_DUPLICATED: {
    http: 409,
    exit: 1,
    meaning: 'Two nodes run with one identity, usually because a data folder was copied.',
  },
  MAY_NOT_SIGN: {
    http: 503,
    exit: 1,
    meaning:
      'This node must not sign now: its clock is far off, or its data was restored and has not caught up with its own past.',
  },
  INTERNAL: { http: 500, exit: 1, meaning: 'A defect in Feedmesh; the log has the details.' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERROR_KINDS

export class FeedmeshError extends Error {
  override readonly name = 'FeedmeshError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  get httpStatus(): number {
    return ERROR_KINDS[this.code].http
  }
}

export function isFeedmeshError(error: unknown, ...codes: readonly ErrorCode[]): error is FeedmeshError {
  return error instanceof FeedmeshError && (codes.length === 0 || codes.includes(error.code))
}

/** Whether `code` is in the table; error codes also arrive as text from a peer or from the HTTP API. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_KINDS, code)
}

/** Any thrown value as one of ours; what is not ours becomes INTERNAL with the original as cause. */
export function asFeedmeshError(error: unknown): FeedmeshError {
  if (error instanceof FeedmeshError) return error
  if (error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')) {
    const code = error.name === 'TimeoutError' ? 'TIMEOUT' : 'ABORTED'
    return new FeedmeshError(code, error.message, { cause: error })
  }
  return new FeedmeshError('INTERNAL', 'internal error; the log of the node has the details', { cause: error })
}
