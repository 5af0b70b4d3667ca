/** Values by key, bounded in bytes; what was used least recently goes first. */

interface Entry<V> {
  readonly value: V
  readonly bytes: number
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
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** A value of more than half the cache is not kept. */
  set(key: string, value: V, valueBytes: number): void {
    const bytes = valueBytes + key.length * 2
    this.delete(key)
    if (bytes > this.#maxBytes / 2) return
    this.#entries.set(key, { value, bytes })
    this.#bytes += bytes
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) return
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#bytes -= entry.bytes
  }
}
