/**
 * Looks through a cpio archive as rpm writes it, while it streams by. https://manpages.debian.org/cpio.5 (new ASCII format)
 *
 * Packages with files over 4 GiB, and all of format 6, have members that are numbers of files in the header. They have no names of
 * their own, so there is nothing to look for in them.
 */

import { GrowingBuffer } from '../growing-buffer.ts'
import { badRpm } from './header.ts'

export interface CpioScan {
  readonly maxMembers: number
  /** Called with the name of each member; may throw to refuse it. */
  onMember(name: string): void
}

const MAGIC_BYTES = 6
const HEADER_BYTES = 110
const MAX_NAME_BYTES = 8192
const TRAILER = 'TRAILER!!!'
const NAMED = ['070701', '070702']
const NUMBERED = '07070X'

/** Eight hexadecimal digits each. */
const FIELDS = { size: 6, nameBytes: 11 }

export class CpioScanner {
  readonly #scan: CpioScan
  readonly #head = new GrowingBuffer()
  /** Bytes of the present header and name. */
  #wanted = MAGIC_BYTES
  #skip = 0
  #members = 0
  #hasEnded = false

  constructor(scan: CpioScan) {
    this.#scan = scan
  }

  /** @throws BAD_PACKAGE and what `onMember` throws */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#hasEnded; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at)
        this.#skip -= skipped
        at += skipped
        continue
      }
      const part = chunk.subarray(at, at + this.#wanted - this.#head.size)
      this.#head.append(part)
      at += part.length
      if (this.#head.size === this.#wanted) this.#take(this.#head.bytes())
    }
  }

  /** @throws BAD_PACKAGE when the archive is cut off */
  end(): void {
    if (!this.#hasEnded) throw badRpm('its payload is cut off')
  }

  #take(head: Buffer): void {
    if (this.#wanted === MAGIC_BYTES) this.#takeMagic(head.toString('latin1'))
    else if (this.#wanted === HEADER_BYTES) this.#takeHeader(head)
    else this.#takeName(head)
  }

  #takeMagic(magic: string): void {
    if (magic === NUMBERED) this.#hasEnded = true
    else if (!NAMED.includes(magic)) throw badRpm('its payload is no cpio archive')
    this.#wanted = HEADER_BYTES
  }

  #takeHeader(head: Buffer): void {
    const nameBytes = readField(head, 'nameBytes')
    if (nameBytes < 2 || nameBytes > MAX_NAME_BYTES) throw badRpm('a member of its payload has no proper name')
    this.#wanted = padded(HEADER_BYTES + nameBytes)
  }

  #takeName(head: Buffer): void {
    const end = HEADER_BYTES + readField(head, 'nameBytes') - 1
    const name = head.toString('utf8', HEADER_BYTES, end)
    if (head[end] !== 0 || name.includes('\0')) throw badRpm('a member of its payload has no proper name')
    this.#skip = padded(readField(head, 'size'))
    this.#head.clear()
    this.#wanted = MAGIC_BYTES
    this.#hasEnded = name === TRAILER
    if (this.#hasEnded) return
    this.#members += 1
    if (this.#members > this.#scan.maxMembers)
      throw badRpm(`its payload has more than the ${this.#scan.maxMembers} members allowed`)
    this.#scan.onMember(name)
  }
}

function padded(size: number): number {
  return Math.ceil(size / 4) * 4
}

function readField(head: Buffer, field: keyof typeof FIELDS): number {
  const at = MAGIC_BYTES + FIELDS[field] * 8
  const digits = head.toString('latin1', at, at + 8)
  if (!/^[0-9a-fA-F]{8}$/.test(digits)) throw badRpm('a member of its payload has no proper header')
  return Number.parseInt(digits, 16)
}
