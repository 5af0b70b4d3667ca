/** What a host knows of peers besides live connections: their addresses and how the last dial went. In memory only. */

export interface DialFailure {
  readonly message: string
  /** Unix ms. */
  readonly at: number
}

export interface AddressEntry {
  readonly addresses: readonly string[]
  readonly kept: boolean
  readonly lastDialError?: DialFailure
}

/** Entries of peers that are not kept; the oldest goes first. Addresses may come from peers, so they must not pile up. */
const MAX_LOOSE_ENTRIES = 2048
/** Addresses of one peer; further ones are ignored. */
export const MAX_ADDRESSES = 16

export class AddressBook {
  /** Oldest change first. */
  readonly #entries = new Map<string, AddressEntry>()

  find(peerId: string): AddressEntry | undefined {
    return this.#entries.get(peerId)
  }

  entries(): Iterable<readonly [peerId: string, entry: AddressEntry]> {
    return this.#entries
  }

  /** Replaces the addresses, unless there are none to replace them with. */
  note(peerId: string, addresses: readonly string[]): void {
    if (addresses.length === 0) return
    this.#put(peerId, { ...this.#get(peerId), addresses: distinct(addresses) })
  }

  /** As `note`, and the entry stays until `release`. */
  keep(peerId: string, addresses: readonly string[]): void {
    const entry = this.#get(peerId)
    this.#put(peerId, {
      ...entry,
      kept: true,
      addresses: addresses.length === 0 ? entry.addresses : distinct(addresses),
    })
  }

  release(peerId: string): void {
    const entry = this.#entries.get(peerId)
    if (entry !== undefined) this.#put(peerId, { ...entry, kept: false })
  }

  noteFailure(peerId: string, failure: DialFailure): void {
    this.#put(peerId, { ...this.#get(peerId), lastDialError: failure })
  }

  noteSuccess(peerId: string): void {
    const entry = this.#entries.get(peerId)
    if (entry?.lastDialError === undefined) return
    this.#put(peerId, { addresses: entry.addresses, kept: entry.kept })
  }

  #get(peerId: string): AddressEntry {
    return this.#entries.get(peerId) ?? { addresses: [], kept: false }
  }

  #put(peerId: string, entry: AddressEntry): void {
    this.#entries.delete(peerId)
    this.#entries.set(peerId, entry)
    if (this.#entries.size <= MAX_LOOSE_ENTRIES) return
    const loose = [...this.#entries].filter(([, each]) => !each.kept)
    const [oldest] = loose
    if (loose.length > MAX_LOOSE_ENTRIES && oldest !== undefined) this.#entries.delete(oldest[0])
  }
}

function distinct(addresses: readonly string[]): readonly string[] {
  return [...new Set(addresses)].slice(0, MAX_ADDRESSES)
}
