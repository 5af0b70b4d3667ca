/** What to do about each error: the command that mends it or shows what to mend. */

import type { ErrorCode } from '../errors.ts'

const BY_CODE = {
  BAD_INPUT: 'feedmesh --help',
  BAD_PACKAGE: 'feedmesh publish FEED FILE, with the whole and unchanged file',
  UNAUTHENTICATED: 'feedmesh key create --can admin (on the machine of the node), then set FEEDMESH_API_KEY',
  FORBIDDEN: 'feedmesh key create --feed NAME --can read,publish,delete (as administrator)',
  NOT_FOUND: 'feedmesh feed list',
  EXISTS: 'feedmesh feed show NAME',
  CONFLICT: 'feedmesh doctor',
  TOO_LARGE: 'set "maxFileBytes" in config.json of the data folder, then feedmesh start',
  RANGE: 'feedmesh feed show NAME',
  BUSY: 'feedmesh status, and the same command again',
  TIMEOUT: 'feedmesh peers',
  ABORTED: 'feedmesh status, and the same command again',
  STORAGE_FULL: 'free space on the disk of the data folder, then feedmesh doctor',
  STORAGE_IO: 'look at the disk of the data folder (dmesg), then feedmesh doctor',
  CORRUPT: 'feedmesh verify --repair; where the node does not start, do as the message says',
  DATA_IN_USE: 'stop the other process, or feedmesh start --data OTHER-FOLDER',
  DATA_NEWER: 'install the newer version, then feedmesh start',
  NODE_NOT_RUNNING: 'feedmesh start',
  TOKEN_MISTYPED: 'copy the whole token or code again, then feedmesh join CODE --check',
  TOKEN_UNKNOWN:
    'at the other end: feedmesh token list, or a new one with feedmesh replication add --incoming --token new',
  TOKEN_EXPIRED: 'at the other end: feedmesh replication add --incoming --token new',
  TOKEN_USED_UP: 'at the other end: feedmesh replication add --incoming --token new',
  TOKEN_REVOKED: 'at the other end: feedmesh replication add --incoming --token new',
  WRONG_HUB: 'feedmesh join CODE --check, with a code made at the node of that URL',
  NOT_A_NODE: 'check the base URL: URL/.well-known/feedmesh must answer; then the same command again',
  TYPE_MISMATCH: 'feedmesh feed create NAME --type TYPE, with the type of the other feed',
  MODE_MISMATCH: 'feedmesh replication add with the complementing mode: push ↔ pull, mirror ↔ mirror',
  PEER_UNREACHABLE: 'start the other node (feedmesh start), then feedmesh peers',
  PEER_INVALID: 'install the same version at both ends, then feedmesh doctor',
  FORGED: 'feedmesh doctor',
  ROLLED_BACK: 'feedmesh doctor (at the node that owns the feed)',
  FORKED: 'feedmesh feed new-epoch NAME (at the node that owns the feed)',
  IDENTITY_DUPLICATED: 'stop one of the two nodes, and there feedmesh init --data NEW-FOLDER',
  MAY_NOT_SIGN: 'feedmesh doctor',
  INTERNAL: 'feedmesh doctor, and the log of the node',
} as const satisfies Record<ErrorCode, string>

const LISTS: Readonly<Record<string, string>> = {
  replication: 'feedmesh replication list',
  runs: 'feedmesh runs',
  token: 'feedmesh token list',
  key: 'feedmesh key list',
  peers: 'feedmesh peers',
  explain: 'feedmesh explain',
}

/** `command` is the one that failed: `feed create`. */
export function findCure(code: ErrorCode, command: string): string {
  const [group = ''] = command.split(' ')
  if (code === 'BAD_INPUT') return command === '' ? BY_CODE.BAD_INPUT : `feedmesh ${command} --help`
  if (code === 'NOT_FOUND') return LISTS[group] ?? BY_CODE.NOT_FOUND
  return BY_CODE[code]
}
