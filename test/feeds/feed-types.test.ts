import assert from 'node:assert/strict'
import { it } from 'node:test'
import { FEED_TYPES } from '../../protocols/feeds/index.ts'
import { type FeedTypeSample, testFeedType } from '../conformance/feed-type.ts'
import { createAssetsSample } from './assets-sample.ts'
import { createDebianSample } from './debian-sample.ts'
import { createDockerSample } from './docker-sample.ts'
import { createNpmSample } from './npm-sample.ts'
import { createNugetSample } from './nuget-sample.ts'
import { createRpmSample } from './rpm-sample.ts'

const SAMPLES: Readonly<Record<string, () => Promise<FeedTypeSample>>> = {
  chocolatey: createNugetSample,
  nuget: createNugetSample,
  npm: createNpmSample,
  assets: createAssetsSample,
  debian: createDebianSample,
  docker: createDockerSample,
  rpm: createRpmSample,
}

it('there is a sample for every feed type', () => {
  assert.deepEqual(Object.keys(SAMPLES).sort(), FEED_TYPES.map(({ name }) => name).sort())
})

for (const type of FEED_TYPES) {
  const createSample = SAMPLES[type.name]
  if (createSample !== undefined) testFeedType(type, createSample)
}
