/** What is remembered of peers from one fetch to the next: how fast they gave, and who lied. */

/** Weight of the newest measurement: the last half dozen decide. */
const NEWEST_WEIGHT = 0.25
/** Measurements kept of each peer, and of all of them together. */
const MAX_SAMPLES = 32
/** A peer is judged by its own past from so many measurements on, before that by everybody's. */
const MIN_SAMPLES = 6
/** A peer that lied is asked last for this long, twice as long each further time … */
const BACK_OFF_MS = 60_000
/** … up to this long. */
const MAX_BACK_OFF_MS = 3_600_000
/** Peers remembered; the one longest unheard of goes first. */
const MAX_PEERS = 1000

interface RememberedPeer {
  /** Bytes per ms of one request, exponentially weighted; undefined before the first measurement. */
  pace: number | undefined
  readonly paces: number[]
  lies: number
  asideUntilMs: number
}

export interface Measured {
  readonly bytes: number
  readonly tookMs: number
  readonly isOvertaken: boolean
}

export class PeerMemory {
  readonly #peers = new Map<string, RememberedPeer>()
  readonly #paces: number[] = []

  /**
   * What one request of the peer moved. One that was overtaken counts for the peer, and not for what is usual: else a peer
   * that is slow for long enough would be as quick as can be expected of it.
   */
  measure(peer: string, { bytes, tookMs, isOvertaken }: Measured): void {
    if (bytes <= 0 || tookMs <= 0) return
    const pace = bytes / tookMs
    const known = this.#recall(peer)
    known.pace = known.pace === undefined ? pace : known.pace + NEWEST_WEIGHT * (pace - known.pace)
    if (isOvertaken) return
    keepNewest(known.paces, pace)
    keepNewest(this.#paces, pace)
  }

  /** Bytes per ms that its last requests moved each. */
  findPace(peer: string): number | undefined {
    return this.#peers.get(peer)?.pace
  }

  /** Bytes per ms that a request of the peer is expected to move; of an unknown one as much as of the best, so that it is tried. */
  expectedPace(peer: string): number {
    return this.findPace(peer) ?? Math.max(UNKNOWN_PACE, ...this.#paces)
  }

  /** The pace that `share` of the requests fell short of: the peer's own, else everybody's, undefined before anything is known. */
  slowPace(peer: string, share: number): number | undefined {
    const own = this.#peers.get(peer)?.paces ?? []
    const paces = own.length >= MIN_SAMPLES ? own : this.#paces
    if (paces.length === 0) return undefined
    const sorted = [...paces].sort((a, b) => a - b)
    return sorted[Math.floor(share * (sorted.length - 1))]
  }

  noteLie(peer: string, nowMs: number): void {
    const known = this.#recall(peer)
    known.asideUntilMs = nowMs + Math.min(MAX_BACK_OFF_MS, BACK_OFF_MS * 2 ** Math.min(known.lies, 16))
    known.lies += 1
  }

  isSetAside(peer: string, nowMs: number): boolean {
    return (this.#peers.get(peer)?.asideUntilMs ?? Number.NEGATIVE_INFINITY) > nowMs
  }

  #recall(peer: string): RememberedPeer {
    const known = this.#peers.get(peer) ?? {
      pace: undefined,
      paces: [],
      lies: 0,
      asideUntilMs: Number.NEGATIVE_INFINITY,
    }
    this.#peers.delete(peer)
    this.#peers.set(peer, known)
    if (this.#peers.size > MAX_PEERS) this.#peers.delete(this.#peers.keys().next().value!)
    return known
  }
}

/** 10 MB/s: a usual link. */
const UNKNOWN_PACE = 10_000

function keepNewest(samples: number[], newest: number): void {
  samples.push(newest)
  if (samples.length > MAX_SAMPLES) samples.shift()
}
