import { describe, it, type TestContext } from 'node:test'
import { createFeedServer, PUBLISHER_KEY } from '../../support/feed-server.ts'
import { type ClientName, type FeedTarget, findClient } from './drivers.ts'
import { clientScenario, npmScenario } from './scenario.ts'

async function openTarget(t: TestContext): Promise<FeedTarget> {
  const server = await createFeedServer()
  t.after(() => server[Symbol.asyncDispose]())
  server.addFeed('npm', 'main')
  return { url: `${await server.listen()}/npm/main`, key: PUBLISHER_KEY, t }
}

/** Names the clients that a test needs and that are not installed. */
function missing(...clients: readonly ClientName[]): string | false {
  const absent = clients.filter((client) => findClient(client) === undefined)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')} (test/clients/install.sh)`
}

describe('npm clients', { concurrency: 2 }, () => {
  it('npm works with a feed', { skip: missing('npm'), timeout: 120_000 }, async (t) => npmScenario(await openTarget(t)))
  for (const client of ['pnpm', 'yarn1', 'yarn4', 'bun', 'deno'] as const) {
    it(`${client} works with a feed`, { skip: missing('npm', client), timeout: 120_000 }, async (t) =>
      clientScenario(await openTarget(t), client),
    )
  }
})
