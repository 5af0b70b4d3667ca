/** One document on its way to the next generation: members are opened where units change, all others stay as they are. */

import { compareKeys } from '../catalog/row.ts'
import type { IndexEntry, SignedIndexFormat, UnitEntries } from '../feeds/signed-index.ts'
import type { DigestPrefixes } from './digest-prefixes.ts'
import { membersOf, type StoredDocument, type StoredMember } from './generation.ts'
import type { MemberStore } from './member-store.ts'
import {
  createOpenMember,
  cutEntries,
  isFull,
  MAX_MEMBER_TEXT_BYTES,
  MIN_MEMBER_TEXT_BYTES,
  type OpenMember,
  replaceUnit,
} from './open-member.ts'

/** Members that are read at a time. */
const READ_AHEAD = 8

/** Invariant: entries are in order of their units from one member to the next; several may begin with the same unit. */
type Member = StoredMember | OpenMember

function isOpen(member: Member): member is OpenMember {
  return 'stored' in member
}

function isChanged(member: Member): boolean {
  return isOpen(member) && member.stored === undefined
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
    const entries = next === undefined ? [] : this.#takeApart(next)
    if (this.#members.length === 0) {
      if (entries.length === 0) return
      this.#members.push(createOpenMember(''))
    }
    const { from, end } = this.#findMembers(unit)
    const members: OpenMember[] = []
    for (let at = from; at < end; at += 1) members.push(await this.#openMember(at))
    if (replaceUnit(members, unit, entries)) this.#isChanged = true
  }

  /** Adds a unit behind all others; whole members are stored at once. */
  async append(next: UnitEntries): Promise<void> {
    for (const entry of this.#takeApart(next)) {
      const last = this.#members.at(-1)
      const isGoingOn = last !== undefined && isOpen(last) && !isFull(last.size, entry)
      if (!isGoingOn) await this.#closeMember(this.#members.length - 1)
      const member = isGoingOn ? last : createOpenMember(entry.unit)
      if (!isGoingOn) this.#members.push(member)
      member.entries.push(entry)
      member.size += entry.bytes.length
      this.#isChanged = true
    }
  }

  #takeApart({ unit, bytes, count }: UnitEntries): IndexEntry[] {
    return count === 1 ? [{ unit, bytes }] : [...this.#format.splitEntries(this.document, bytes)]
  }

  /** The document as it is in the next generation. */
  async finish(): Promise<StoredDocument> {
    if (!this.#isChanged && this.#old !== undefined) return this.#old
    this.#members = this.#members.filter((member) => !isOpen(member) || member.entries.length > 0)
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

  /** The members that the unit is in, or would be: it may begin at the end of one and go on in others. */
  #findMembers(unit: string): { readonly from: number; readonly end: number } {
    const find = (isBefore: (first: string) => boolean) => {
      let [low, high] = [0, this.#members.length]
      while (low < high) {
        const middle = (low + high) >> 1
        if (isBefore(this.#members[middle]?.first ?? '')) low = middle + 1
        else high = middle
      }
      return low
    }
    const from = Math.max(0, find((first) => compareKeys(first, unit) < 0) - 1)
    return {
      from,
      end: Math.max(
        from + 1,
        find((first) => compareKeys(first, unit) <= 0),
      ),
    }
  }

  async #openMember(at: number): Promise<OpenMember> {
    const member = this.#members[at]!
    if (isOpen(member)) return member
    const text = await this.#store.read(member.id, '')
    const open = createOpenMember(member.first, [...this.#format.splitEntries(this.document, text)], member)
    this.#members[at] = open
    return open
  }

  async #joinSmall(): Promise<void> {
    for (let at = this.#members.length - 2; at >= 0; at -= 1) {
      const [member, next] = [this.#members[at], this.#members[at + 1]]
      if (member === undefined || next === undefined || !(isChanged(member) || isChanged(next))) continue
      const isSmall = Math.min(member.size, next.size) < MIN_MEMBER_TEXT_BYTES
      if (!isSmall || member.size + next.size > MAX_MEMBER_TEXT_BYTES) continue
      const entries = [...(await this.#openMember(at)).entries, ...(await this.#openMember(at + 1)).entries]
      this.#members.splice(at, 2, createOpenMember(member.first, entries))
    }
  }

  /** Stores an open member, as several when it has become too large. */
  async #closeMember(at: number): Promise<void> {
    const member = this.#members[at]
    if (member === undefined || !isOpen(member)) return
    const stored: StoredMember[] = member.stored === undefined ? [] : [member.stored]
    if (stored.length === 0) for (const entries of cutEntries(member)) stored.push(await this.#storeEntries(entries))
    this.#members.splice(at, 1, ...stored)
  }

  async #storeEntries(entries: readonly IndexEntry[]): Promise<StoredMember> {
    const text = Buffer.concat(entries.map(({ bytes }) => bytes))
    const id = await this.#store.store(text)
    return { id, first: entries[0]?.unit ?? '', entries: entries.length, size: text.length }
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
