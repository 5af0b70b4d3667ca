/** The closed list of what can be wrong with a node; raised in `operations/problems.ts`, shown by doctor, health and metrics. */

export const PROBLEM_CODES = {
  PEER_UNREACHABLE: 'A linked peer has no connection.',
  REPLICATION_FAILING: 'The last run of a replication failed; the message says why, on whichever end it happened.',
  LINK_REVOKED: 'The other end revoked the link or its token.',
  LINK_REFUSED: 'A node tried to link and was refused.',
  FEED_STALE: 'The newest manifest of a replicated feed has expired: its owner has been silent for too long.',
  FEED_RESTORED: 'The node was restored from a backup and must catch up with its own past before it signs.',
  FEED_FORKED:
    'The owner of a feed signed two different states under one number: nobody follows it before a new epoch.',
  RECOVERY_KEY_HERE: 'The recovery key of a feed lies on the node itself, where it is lost or stolen along with it.',
  ROWS_RETURNED: 'A new epoch of a source brought rows back that were gone; they are hidden until an operator answers.',
  ROWS_LOST: 'A new epoch of a source lacks rows that were here, or has older values.',
  DATABASE_REBUILT: 'The database was lost and rebuilt from the essentials file; content is still to come from peers.',
  IDENTITY_DUPLICATED: 'Two live nodes use one identity.',
  CLOCK_WRONG: 'The clock of this node is too far off to sign.',
  CLOCK_SKEW: 'The clocks of this node and of a peer differ by more than five minutes.',
  REPLICATION_WAITING: 'A replication was added, but no node has linked with it for a day.',
  STORAGE_FULL: 'The disk of the data folder has too little space left to store anything.',
} as const
export type ProblemCode = keyof typeof PROBLEM_CODES
