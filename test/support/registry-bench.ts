/** A docker feed in memory, called as a client would. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import { dockerFeedType } from '../../protocols/feeds/docker/feed-type.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from './feed-server.ts'
import type { Content, MadeImage } from './oci-image.ts'

type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'

export interface RegistryBench {
  readonly feed: Feed
  /** `url` below `/v2/main/`, or absolute. */
  readonly call: (
    method: Method,
    url: string,
    payload?: NonNullable<InjectOptions['payload']>,
    headers?: Readonly<Record<string, string>>,
  ) => Promise<LightMyRequestResponse>
  readonly pushBlob: (repository: string, blob: Content) => Promise<void>
  readonly pushImage: (repository: string, reference: string, image: MadeImage) => Promise<LightMyRequestResponse>
  /** Begins an upload; resolves to its URL. */
  readonly begin: (repository: string, query?: string) => Promise<string>
}

export async function openRegistryBench(
  t: TestContext,
  options: { readonly maxFileBytes?: number } = {},
): Promise<RegistryBench> {
  const server = await createFeedServer([dockerFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed('docker', 'main', options)
  const call: RegistryBench['call'] = (method, url, payload, headers = {}) =>
    server.app.inject({
      method,
      url: url.startsWith('/') ? url : `/v2/main/${url}`,
      ...(payload === undefined ? {} : { payload }),
      headers: withKey(PUBLISHER_KEY, headers),
    })
  const begin: RegistryBench['begin'] = async (repository, query = '') => {
    const answer = await call('POST', `${repository}/blobs/uploads/${query}`)
    assert.equal(answer.statusCode, 202)
    return String(answer.headers.location)
  }
  const pushBlob: RegistryBench['pushBlob'] = async (repository, { bytes, digest }) => {
    const answer = await call('POST', `${repository}/blobs/uploads/?digest=${digest}`, bytes)
    assert.equal(answer.statusCode, 201, answer.body)
  }
  return {
    feed,
    call,
    begin,
    pushBlob,
    async pushImage(repository, reference, image) {
      for (const blob of image.blobs) await pushBlob(repository, blob)
      return await call('PUT', `${repository}/manifests/${reference}`, image.bytes, { 'content-type': image.mediaType })
    },
  }
}

export type Check = readonly [title: string, run: (registry: RegistryBench) => Promise<void>]

/** A table of checks, each on a registry of its own. */
export function testChecks(area: string, checks: readonly Check[]): void {
  describe(`OCI distribution specification: ${area}`, () => {
    for (const [title, run] of checks) it(title, async (t) => run(await openRegistryBench(t)))
  })
}

export const UNKNOWN_DIGEST = `sha256:${'0'.repeat(64)}`

export async function statusOf(answer: Promise<LightMyRequestResponse>): Promise<number> {
  return (await answer).statusCode
}

/** The code in the client's dialect. */
export function codeOf(answer: LightMyRequestResponse): string | undefined {
  return answer.json<{ errors: { code: string }[] }>().errors[0]?.code
}
