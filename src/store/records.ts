/** The contract of the key-value store that holds every record of a node. Keys are spelled in `keys.ts` only. */

export type Write =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

/** Half-open range of keys in byte order: `gte` ≤ key < `lt`. */
export interface KeyRange {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
}

export interface ScanOptions extends KeyRange {
  readonly reverse?: boolean
  /** At most this many entries; unbounded when absent. */
  readonly limit?: number
}

export interface Records extends AsyncDisposable {
  find(key: Uint8Array): Promise<Uint8Array | undefined>
  findMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /**
   * Entries in key order, as of the moment the iteration starts; writes made later are not seen, unless the store had to
   * mend itself during the iteration: then what comes after the last key given is as of that moment.
   */
  scan(options: ScanOptions): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>
  scanKeys(options: ScanOptions): AsyncIterable<Uint8Array>
  /**
   * All of `writes` or none, on stable storage when the promise resolves. Concurrent calls share one sync (group
   * commit); they take effect in the order of the calls.
   * @throws STORAGE_FULL, STORAGE_IO: nothing of `writes` is visible, then or after a restart. The store mends itself:
   * once the cause is gone (space is back) later calls succeed without a restart of the process.
   */
  write(writes: readonly Write[]): Promise<void>
  /** Deletes every key of the range; not atomic with anything else. */
  clear(range: KeyRange): Promise<void>
}
