import assert from 'node:assert/strict'
import { it } from 'node:test'
import { FEED_TYPES } from '../../protocols/feeds/index.ts'
import { type FeedTypeSample, testFeedType } from '../conformance/feed-type.ts'
import { createAssetsSample } from './assets-sample.ts'
import { createNpmSample } from './npm-sample.ts'

const SAMPLES: Readonly<Record<string, () => Promise<FeedTypeSample>>> = {
  npm: createNpmSample,
  assets: createAssetsSample,
}

it('there is a sample for every feed type', () => {
  assert.deepEqual(Object.keys(SAMPLES).sort(), FEED_TYPES.map(({ name }) => name).sort())
})

for (const type of FEED_TYPES) {
  const createSample = SAMPLES[type.name]
  if (createSample !== undefined) testFeedType(type, createSample)
}
