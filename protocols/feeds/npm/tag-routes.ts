/** Tags and access of a package. https://docs.npmjs.com/cli/commands/npm-dist-tag */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import { readJsonBody } from '../request-body.ts'
import { type NpmCall, type NpmHandler, sendJson } from './call.ts'
import { editPackage, planTag, planUntag } from './edit.ts'
import { isPackageName, parseTag } from './names.ts'
import { type PackageView, readPackage, resolveTags } from './package-view.ts'
import type { PathRoute } from './path-router.ts'

const MAX_TAG_BODY_BYTES = 1024

export function createTagRoutes(): PathRoute<NpmHandler>[] {
  const tag = '/-/package/:package/dist-tags/:tag'
  return [
    { methods: ['GET', 'HEAD'], pattern: '/-/package/:package/dist-tags', handler: answerTags },
    { methods: ['PUT', 'POST'], pattern: tag, handler: answerSetTag },
    { methods: ['DELETE'], pattern: tag, handler: answerRemoveTag },
    { methods: ['GET'], pattern: '/-/package/:package/visibility', handler: answerVisibility },
    { methods: ['GET'], pattern: '/-/package/:package/collaborators', handler: answerCollaborators },
    { methods: ['POST'], pattern: '/-/package/:package/access', handler: refuseAccess },
  ]
}

async function answerTags(call: NpmCall): Promise<unknown> {
  const view = await getView(await call.host.getFeed(call.request, 'read'), call.parameter('package'))
  return sendJson(call.reply, Object.fromEntries(resolveTags(view)))
}

async function answerSetTag(call: NpmCall): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'publish')
  const tag = parseTag(call.parameter('tag'))
  const version = await readJsonBody(call.request, { maxBytes: MAX_TAG_BODY_BYTES })
  await editPackage(feed, call.parameter('package'), (view) => planTag(view, tag, version))
  return sendJson(call.reply, { ok: true, id: call.parameter('package') }, 201)
}

async function answerRemoveTag(call: NpmCall): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'publish')
  await editPackage(feed, call.parameter('package'), (view) => planUntag(view, call.parameter('tag')))
  return sendJson(call.reply, { ok: true, id: call.parameter('package') })
}

async function answerVisibility(call: NpmCall): Promise<unknown> {
  await getView(await call.host.getFeed(call.request, 'read'), call.parameter('package'))
  return sendJson(call.reply, { public: false })
}

/** Access is by API key, so the one collaborator that can be named is the asker. */
async function answerCollaborators(call: NpmCall): Promise<unknown> {
  await getView(await call.host.getFeed(call.request, 'read'), call.parameter('package'))
  const caller = await call.host.getCaller(call.request)
  return sendJson(call.reply, { [caller.name]: caller.permissions.has('publish') ? 'write' : 'read' })
}

async function refuseAccess(call: NpmCall): Promise<unknown> {
  await call.host.getFeed(call.request, 'publish')
  throw new FeedmeshError('FORBIDDEN', 'access is given per feed by API keys, not per package')
}

async function getView(feed: Feed, name: string): Promise<PackageView> {
  const unit = isPackageName(name) ? await feed.findUnit(name) : undefined
  const view = unit && (await readPackage(feed, unit))
  if (view === undefined || view.versions.size === 0) {
    throw new FeedmeshError('NOT_FOUND', `no such package: ${name.slice(0, 300)}`)
  }
  return view
}
