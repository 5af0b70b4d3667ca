/** `/api/feeds` */

import { Type } from 'typebox'
import { requestOrigin } from '../request-origin.ts'
import { type AdminContext, type AdminScope, actorOf } from './admin-api.ts'
import { closed, errors, feedDetails, feedName, feedSummary, listOf, maxRate, nothing, unsigned } from './schemas.ts'

const tags = ['feeds']
const params = Type.Object({ name: feedName })
const typeName = Type.String({ minLength: 1, maxLength: 32 })
const feedType = Type.Object({ name: Type.String(), mount: Type.String() }, closed)
const clientSetup = Type.Object({ client: Type.String(), lines: Type.Array(Type.String()) }, closed)

const newFeed = Type.Object(
  {
    name: feedName,
    type: typeName,
    publicRead: Type.Optional(Type.Boolean({ description: 'Read without a key.' })),
    unsigned: Type.Optional(unsigned),
  },
  closed,
)

export function registerFeedRoutes(scope: AdminScope, { operations }: AdminContext): void {
  scope.get(
    '/feed-types',
    {
      schema: {
        tags,
        operationId: 'listFeedTypes',
        summary: 'Types of feeds this node knows',
        response: { 200: listOf('types', feedType), ...errors },
      },
    },
    async () => ({ types: operations.feedTypes.map(({ name, mount }) => ({ name, mount })) }),
  )
  scope.get(
    '/feeds',
    {
      schema: {
        tags,
        operationId: 'listFeeds',
        summary: 'All feeds',
        response: { 200: listOf('feeds', feedSummary), ...errors },
      },
    },
    async () => ({ feeds: await operations.listFeeds() }),
  )
  scope.post(
    '/feeds',
    {
      schema: {
        tags,
        operationId: 'createFeed',
        summary: 'Create a feed',
        body: newFeed,
        response: { 201: feedSummary, ...errors },
      },
    },
    async (request, reply) => {
      const feed = { publicRead: false, ...request.body }
      return reply.code(201).send(await operations.createFeed(feed, actorOf(request)))
    },
  )
  registerOneFeed(scope, operations)
  registerFeedChanges(scope, operations)
}

function registerOneFeed(scope: AdminScope, operations: AdminContext['operations']): void {
  scope.get(
    '/feeds/:name',
    {
      schema: {
        tags,
        operationId: 'showFeed',
        summary: 'A feed with its digest and sources',
        params,
        response: { 200: feedDetails, ...errors },
      },
    },
    (request) => operations.showFeed(request.params.name),
  )
  scope.get(
    '/feeds/:name/clients',
    {
      schema: {
        tags,
        operationId: 'listClientSetups',
        summary: 'How to set up package clients for a feed',
        params,
        response: { 200: listOf('clients', clientSetup), ...errors },
      },
    },
    async (request, reply) => {
      const { name, type } = operations.openFeed(request.params.name)
      const found = operations.feedTypes.find((candidate) => candidate.name === type)
      const url = `${requestOrigin(request)}/${found?.mount}/${encodeURIComponent(name)}`
      const clients = (found?.clientSetup(url) ?? []).map(({ client, lines }) => ({ client, lines: [...lines] }))
      return reply.send({ clients })
    },
  )
}

function registerFeedChanges(scope: AdminScope, operations: AdminContext['operations']): void {
  scope.patch(
    '/feeds/:name',
    {
      schema: {
        tags,
        operationId: 'editFeed',
        summary: 'Change what a feed takes',
        params,
        body: Type.Object(
          { unsigned: Type.Optional(unsigned), maxRate: Type.Optional(maxRate) },
          { ...closed, minProperties: 1 },
        ),
        response: { 200: feedSummary, ...errors },
      },
    },
    (request) => operations.editFeed(request.params.name, request.body, actorOf(request)),
  )
  scope.delete(
    '/feeds/:name',
    {
      schema: {
        tags,
        operationId: 'deleteFeed',
        summary: 'Delete a feed and its content on this node',
        params,
        response: { 204: nothing, ...errors },
      },
    },
    async (request, reply) => {
      await operations.deleteFeed(request.params.name, actorOf(request))
      return reply.code(204).send()
    },
  )
}
