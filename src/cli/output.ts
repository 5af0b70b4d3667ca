/** What a command prints: one JSON document on stdout with `--json`, else text for people. Errors and progress go to stderr. */

import { styleText } from 'node:util'

export interface OutputStream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface OutputOptions {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly json: boolean
  readonly quiet: boolean
  readonly color: boolean
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export class Output {
  readonly json: boolean
  readonly quiet: boolean
  readonly #options: OutputOptions

  constructor(options: OutputOptions) {
    this.json = options.json
    this.quiet = options.quiet
    this.#options = options
  }

  /** The result. Text may hold what peers and publishers wrote: control characters are shown, not obeyed. */
  document(document: unknown, render: () => string): void {
    const text = this.json ? JSON.stringify(document) : render()
    if (text !== '') this.#options.stdout.write(`${text}\n`)
  }

  /** A confirmation or hint beside the result; not with `--json` or `--quiet`. */
  say(text: string): void {
    if (!this.json && !this.quiet) this.#options.stdout.write(`${text}\n`)
  }

  /** A line for whoever watches, on stderr; not with `--json` or `--quiet`. */
  note(text: string): void {
    if (!this.json && !this.quiet) this.#options.stderr.write(`${text}\n`)
  }

  /** Errors and secrets that must be seen whatever was asked for. */
  alert(text: string): void {
    this.#options.stderr.write(`${text}\n`)
  }

  /** Redraws the last line of a terminal; false where there is none to redraw. */
  redraw(text: string): boolean {
    const { stderr } = this.#options
    if (this.json || this.quiet || stderr.isTTY !== true) return false
    stderr.write(`\r\u001b[K${text.slice(0, Math.max(20, (stderr.columns ?? 80) - 1))}`)
    return true
  }

  paint(style: Style, text: string): string {
    return this.#options.color ? styleText(style, text, { validateStream: false }) : text
  }
}

/** Text from elsewhere with its control characters made visible. */
export function visible(text: string): string {
  return text.replace(
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
