/**
 * Named moments of the journeys at which a test kills the process or makes the step fail.
 *
 * The function is handed in by the composition root; in production it does nothing. After a kill at any of these points a
 * restart must find either nothing of the journey or all of it.
 */

export const FAULT_POINTS = [
  'blob.writing', // some bytes of a staged blob are written
  'blob.chunk', // a chunk of a blob that is staged by chunks is verified
  'blob.written', // all bytes written, not yet synced
  'blob.synced', // synced under its temporary name
  'blob.renamed', // at its final place, not yet known to the records
  'records.writing', // a batch is about to be written
  'records.written', // the batch is on stable storage, nobody has been told
  'publish.planned', // the change is decided, nothing is signed
  'publish.signed', // the new manifest is signed, not stored
  'publish.committed', // rows, trie, log and manifest are stored, the client has no answer yet
  'feed.keyed', // the recovery key of a new feed is in its file, the feed is not stored
  'forget.begun', // a feed counts no more, what it left is still to be removed
  'floor.written', // the floor file outside the database is synced
  'adopt.fetched', // rows of a peer's state are here, unverified
  'adopt.verified', // the state root was recomputed and equals the signed one
  'adopt.blob', // one blob of the new state is stored
  'adopt.committed', // the new cut is stored
  'shadow.begun', // a new generation of a feed's rows is announced, or taken up again
  'shadow.stored', // a batch of rows or nodes of it is stored
  'shadow.settled', // its inner nodes are stored, nobody has compared the root
  'view.begun', // a new index of a view is announced
  'view.stored', // a batch of it is stored
  'view.built', // all of it is stored, nobody sees it
  'leftover.clearing', // a generation that counts no more is about to be removed
  'leftover.cleared', // it is removed, its mark stands
  'link.accepted', // the incoming end stored a link, the answer is not sent
  'link.stored', // the outgoing end stored the link
] as const

export type FaultPoint = (typeof FAULT_POINTS)[number]

/** Called at each named moment. May throw (an injected failure) or never return (an injected kill). */
export type ReachFaultPoint = (point: FaultPoint) => void

export const noFaults: ReachFaultPoint = () => {}
