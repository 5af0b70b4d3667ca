/** Calls over the channel between a benchmark and a child process of its own. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'

interface Call {
  readonly id: number
  readonly method: string
  readonly parameters: readonly unknown[]
}

interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

/** The child's side: answers calls with `methods`, one after the other or at once, as they come. */
export function answerCalls(methods: Readonly<Record<string, (...parameters: never[]) => unknown>>): void {
  const answer = async ({ id, method, parameters }: Call): Promise<Answer> => {
    try {
      const work = methods[method] as (...parameters: readonly unknown[]) => unknown
      return { id, value: (await work(...parameters)) ?? null }
    } catch (error) {
      return { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
  }
  process.on('message', (call: Call) => {
    void answer(call).then((given) => process.send?.(given))
  })
  process.on('disconnect', () => process.exit(0))
}

type Methods = Readonly<Record<string, (...parameters: never[]) => unknown>>

export interface ChildOptions {
  readonly args?: readonly string[]
  readonly nodeOptions?: readonly string[]
  /** Where its output goes; shown when it fails. */
  readonly logFile: string
}

export class CallChild<M extends Methods> implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #logFile: string
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #nextId = 1

  constructor(script: string, { args = [], nodeOptions = [], logFile }: ChildOptions) {
    const log = openSync(logFile, 'a')
    this.#logFile = logFile
    this.#child = fork(script, args, { execArgv: [...nodeOptions], stdio: ['ignore', log, log, 'ipc'] })
    closeSync(log)
    this.#child.on('message', (answer: Answer) => this.#settle(answer))
    this.#child.on('exit', (code, signal) =>
      this.#fail(new Error(`the child ended: ${code ?? signal}; ${this.#log()}`)),
    )
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  call<K extends keyof M & string>(method: K, ...parameters: Parameters<M[K]>): Promise<Awaited<ReturnType<M[K]>>> {
    const id = this.#nextId
    this.#nextId += 1
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    this.#child.send({ id, method, parameters } satisfies Call)
    return waiting.promise as Promise<Awaited<ReturnType<M[K]>>>
  }

  #settle({ id, value, error }: Answer): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(value)
    else waiting?.reject(new Error(`in the child: ${error}`))
  }

  #fail(error: Error): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }

  #log(): string {
    return readFileSync(this.#logFile, 'utf8').slice(-2000)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.disconnect()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 20_000)
    await exited
    clearTimeout(timer)
  }
}
