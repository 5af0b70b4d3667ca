import { describe, it, type TestContext } from 'node:test'
import { createFeedServer, PUBLISHER_KEY } from '../../support/feed-server.ts'
import { type AssetsTarget, curlScenario, findTool, wgetScenario } from './scenario.ts'

async function openTarget(t: TestContext): Promise<AssetsTarget> {
  const server = await createFeedServer()
  t.after(() => server[Symbol.asyncDispose]())
  server.addFeed('assets', 'files')
  return { url: `${await server.listen()}/endpoints/files`, key: PUBLISHER_KEY, t }
}

describe('assets clients', () => {
  for (const [tool, scenario] of [
    ['curl', curlScenario],
    ['wget', wgetScenario],
  ] as const) {
    const skip = findTool(tool) === undefined ? `not installed: ${tool}` : false
    it(`${tool} works with a feed`, { skip, timeout: 60_000 }, async (t) => scenario(await openTarget(t)))
  }
})
