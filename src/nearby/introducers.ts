/** Introduces this node to every linked peer that serves a feed to it, while it is connected. */

import type { Introduce } from '../../protocols/mesh/nearby/messages.ts'
import { Introducer, type IntroducerOptions } from './introducer.ts'

export class Introducers {
  readonly #options: IntroducerOptions
  readonly #introducers = new Map<string, Introducer>()

  constructor(options: IntroducerOptions) {
    this.#options = options
  }

  /** Whether anybody is there to say who else reads a feed. */
  get isEmpty(): boolean {
    return this.#introducers.size === 0
  }

  /** What is to be said to whom; gives those to whom nothing is to be said any more. */
  act(wanted: ReadonlyMap<string, readonly Introduce[]>): Introducer[] {
    for (const [peer, introductions] of wanted) this.#to(peer).act(introductions)
    const over = [...this.#introducers].filter(([peer]) => !wanted.has(peer))
    for (const [peer] of over) this.#introducers.delete(peer)
    return over.map(([, introducer]) => introducer)
  }

  #to(peer: string): Introducer {
    const known = this.#introducers.get(peer)
    if (known !== undefined) return known
    const introducer = new Introducer(peer, this.#options)
    this.#introducers.set(peer, introducer)
    return introducer
  }
}
