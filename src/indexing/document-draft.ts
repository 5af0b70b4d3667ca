/** One document on its way to the next generation: members are opened where units change, all others stay as they are. */

import { compareKeys } from '../catalog/row.ts'
import type { SignedIndexFormat, UnitEntries } from '../feeds/signed-index.ts'
import type { DigestPrefixes } from './digest-prefixes.ts'
import { membersOf, type StoredDocument, type StoredMember } from './generation.ts'
import type { MemberStore } from './member-store.ts'

/** Of text in a member; a unit is never cut. */
const MEMBER_BYTES = 128 * 1024
const MAX_BYTES = 2 * MEMBER_BYTES
/** Members that are read at a time. */
const READ_AHEAD = 8
/** A member that shrank below this is joined with the next. */
const MIN_BYTES = MEMBER_BYTES / 8

interface OpenMember {
  /** Where its range begins, whatever is in it now. */
  readonly first: string
  readonly units: UnitEntries[]
}

type Member = StoredMember | OpenMember

function isOpen(member: Member): member is OpenMember {
  return 'units' in member
}

function sizeOf(member: Member): number {
  return isOpen(member) ? member.units.reduce((sum, { bytes }) => sum + bytes.length, 0) : member.size
}

export class DocumentDraft {
  readonly document: string
  readonly #store: MemberStore
  readonly #format: SignedIndexFormat
  readonly #old: StoredDocument | undefined
  readonly #prefixes: DigestPrefixes
  #members: Member[]
  #isChanged = false

  constructor(
    document: string,
    parts: {
      readonly store: MemberStore
      readonly format: SignedIndexFormat
      readonly old: StoredDocument | undefined
      /** Of the document as it was built before; brought up to date. */
      readonly prefixes: DigestPrefixes
    },
  ) {
    this.document = document
    this.#store = parts.store
    this.#format = parts.format
    this.#old = parts.old
    this.#prefixes = parts.prefixes
    this.#members = (parts.old?.members ?? []).filter(({ entries }) => entries > 0)
  }

  /** Replaces what the document says of a unit; without `next` it says nothing of it any more. */
  async set(unit: string, next: UnitEntries | undefined): Promise<void> {
    const at = this.#findMember(unit)
    if (at === -1 && next === undefined) return
    const member = at === -1 ? this.#insertMember() : await this.#openMember(at)
    const { units } = member
    const found = units.findIndex((known) => compareKeys(known.unit, unit) >= 0)
    const place = found === -1 ? units.length : found
    const known = units[place]?.unit === unit ? units[place] : undefined
    if (known === undefined && next === undefined) return
    if (next !== undefined && known?.bytes.equals(next.bytes) === true) return
    units.splice(place, known === undefined ? 0 : 1, ...(next === undefined ? [] : [next]))
    this.#isChanged = true
  }

  /** Adds a unit behind all others; whole members are stored at once. */
  async append(next: UnitEntries): Promise<void> {
    const last = this.#members.at(-1)
    const member = last !== undefined && isOpen(last) ? last : { first: next.unit, units: [] }
    if (member !== last) this.#members.push(member)
    member.units.push(next)
    this.#isChanged = true
    if (sizeOf(member) >= MEMBER_BYTES) await this.#closeMember(this.#members.length - 1)
  }

  /** The document as it is in the next generation. */
  async finish(): Promise<StoredDocument> {
    if (!this.#isChanged && this.#old !== undefined) return this.#old
    this.#members = this.#members.filter((member) => !isOpen(member) || member.units.length > 0)
    await this.#joinSmall()
    for (let at = this.#members.length - 1; at >= 0; at -= 1) await this.#closeMember(at)
    const members = this.#members.filter((member): member is StoredMember => !isOpen(member))
    const entries = members.reduce((sum, member) => sum + member.entries, 0)
    const { head, tail } = this.#format.frame(this.document, entries)
    const framed = {
      head: await this.#storeFrame(head),
      tail: await this.#storeFrame(tail),
      // A compressed document of no bytes at all is none.
      members: members.length + head.length + tail.length === 0 ? [await this.#storeEmpty()] : members,
    }
    return { document: this.document, entries, ...framed, ...(await this.#digestForms(framed)) }
  }

  /** The member whose range the unit is in; -1 when there is none at all. */
  #findMember(unit: string): number {
    let low = 0
    let high = this.#members.length
    while (low < high) {
      const middle = (low + high) >> 1
      const member = this.#members[middle]
      if (member !== undefined && compareKeys(member.first, unit) <= 0) low = middle + 1
      else high = middle
    }
    return this.#members.length === 0 ? -1 : Math.max(0, low - 1)
  }

  #insertMember(): OpenMember {
    const member = { first: '', units: [] }
    this.#members.push(member)
    return member
  }

  async #openMember(at: number): Promise<OpenMember> {
    const member = this.#members[at]
    if (member === undefined || isOpen(member)) return member ?? this.#insertMember()
    const text = await this.#store.read(member.id, '')
    const open = { first: member.first, units: [...this.#format.splitEntries(this.document, text)] }
    this.#members[at] = open
    return open
  }

  async #joinSmall(): Promise<void> {
    for (let at = this.#members.length - 2; at >= 0; at -= 1) {
      const [member, next] = [this.#members[at], this.#members[at + 1]]
      if (member === undefined || next === undefined || !(isOpen(member) || isOpen(next))) continue
      const [size, nextSize] = [sizeOf(member), sizeOf(next)]
      if (Math.min(size, nextSize) >= MIN_BYTES || size + nextSize > MAX_BYTES) continue
      const units = [...(await this.#openMember(at)).units, ...(await this.#openMember(at + 1)).units]
      this.#members.splice(at, 2, { first: member.first, units })
    }
  }

  /** Stores an open member, as several when it has become too large. */
  async #closeMember(at: number): Promise<void> {
    const member = this.#members[at]
    if (member === undefined || !isOpen(member)) return
    const pieces: UnitEntries[][] = [[]]
    const isLarge = sizeOf(member) > MAX_BYTES
    let size = 0
    for (const entry of member.units) {
      if (isLarge && size >= MEMBER_BYTES) {
        pieces.push([])
        size = 0
      }
      pieces.at(-1)?.push(entry)
      size += entry.bytes.length
    }
    const stored: StoredMember[] = []
    for (const units of pieces) stored.push(await this.#storeUnits(units))
    this.#members.splice(at, 1, ...stored)
  }

  async #storeUnits(units: readonly UnitEntries[]): Promise<StoredMember> {
    const text = Buffer.concat(units.map(({ bytes }) => bytes))
    const entries = units.reduce((sum, { count }) => sum + count, 0)
    return { id: await this.#store.store(text), first: units[0]?.unit ?? '', entries, size: text.length }
  }

  async #storeFrame(text: Uint8Array): Promise<StoredMember | undefined> {
    if (text.length === 0) return undefined
    return { id: await this.#store.store(text), first: '', entries: 0, size: text.length }
  }

  async #storeEmpty(): Promise<StoredMember> {
    return { id: await this.#store.store(new Uint8Array(0)), first: '', entries: 0, size: 0 }
  }

  async #digestForms(framed: Pick<StoredDocument, 'head' | 'tail' | 'members'>) {
    const members = membersOf(framed)
    const { from, digests } = this.#prefixes.resume(members.map(({ id }) => Buffer.from(id).toString('hex')))
    const read = ({ id }: StoredMember) => {
      const forms = this.#store.readForms(id)
      // The first that fails is told where it is waited for; the others have nobody.
      forms.catch(() => undefined)
      return forms
    }
    const reading = members.slice(from, from + READ_AHEAD).map(read)
    for (let at = from; at < members.length; at += 1) {
      const forms = await reading.shift()!
      const next = members[at + READ_AHEAD]
      if (next !== undefined) reading.push(read(next))
      digests.update(forms)
      this.#prefixes.pass(at + 1, digests)
    }
    return digests.finish()
  }
}
