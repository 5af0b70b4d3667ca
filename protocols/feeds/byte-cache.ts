/** Values by key, bounded in bytes; what was not used since it last could have gone goes first, the oldest before the others. */

interface Entry<V> {
  readonly value: V
  readonly bytes: number
  isUsed: boolean
}

export class ByteCache<V> {
  readonly #entries = new Map<string, Entry<V>>()
  readonly #maxBytes: number
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  find(key: string): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    entry.isUsed = true
    return entry.value
  }

  /** A value of more than half the cache is not kept. */
  set(key: string, value: V, valueBytes: number): void {
    const bytes = valueBytes + key.length * 2
    this.delete(key)
    if (bytes > this.#maxBytes / 2) return
    this.#entries.set(key, { value, bytes, isUsed: false })
    this.#bytes += bytes
    // Entries that are moved to the end come by a second time, unused.
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) return
      if (entry.isUsed) this.#keepOnceMore(oldest, entry)
      else this.delete(oldest)
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#bytes -= entry.bytes
  }

  #keepOnceMore(key: string, entry: Entry<V>): void {
    entry.isUsed = false
    this.#entries.delete(key)
    this.#entries.set(key, entry)
  }
}
