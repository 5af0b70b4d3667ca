/**
 * Login, whoami and tokens. A token is an API key of the feed: logging in with user `api` and a key as the password gives
 * that key back. Keys are made and revoked by the node's operator, never through this API.
 * https://github.com/npm/registry/blob/main/docs/user/authentication.md
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, readJsonBody } from '../request-body.ts'
import { type NpmCall, type NpmHandler, sendJson } from './call.ts'
import type { PathRoute } from './path-router.ts'

const MAX_LOGIN_BYTES = 64 * 1024
const USER_PREFIX = 'org.couchdb.user:'

export function createAccountRoutes(): PathRoute<NpmHandler>[] {
  return [
    { methods: ['GET', 'HEAD'], pattern: '/-/ping', handler: answerPing },
    { methods: ['GET'], pattern: '/-/whoami', handler: answerWhoami },
    { methods: ['POST'], pattern: '/-/v1/login', handler: refuseWebLogin },
    { methods: ['PUT'], pattern: '/-/user/:user', handler: answerLogin },
    { methods: ['PUT'], pattern: '/-/user/:user/-rev/:rev', handler: answerLogin },
    { methods: ['DELETE'], pattern: '/-/user/token/:token', handler: answerLogout },
    { methods: ['GET'], pattern: '/-/npm/v1/tokens', handler: answerTokens },
    { methods: ['POST'], pattern: '/-/npm/v1/tokens', handler: refuseTokenChange },
    { methods: ['DELETE'], pattern: '/-/npm/v1/tokens/token/:token', handler: refuseTokenChange },
    { methods: ['GET'], pattern: '/-/npm/v1/user', handler: answerProfile },
    { methods: ['POST'], pattern: '/-/npm/v1/user', handler: refuseTokenChange },
  ]
}

async function answerPing({ request, reply, host }: NpmCall): Promise<unknown> {
  await host.getFeed(request, 'read')
  return sendJson(reply, {})
}

async function answerWhoami({ request, reply, host }: NpmCall): Promise<unknown> {
  const caller = await host.getCaller(request)
  return sendJson(reply, { username: caller.name })
}

/** npm takes a 404 here as: ask for name and password instead. */
async function refuseWebLogin(): Promise<unknown> {
  throw new FeedmeshError('NOT_FOUND', 'there is no web login; log in with user api and an API key as the password')
}

async function answerLogin(call: NpmCall): Promise<unknown> {
  const { request, reply, host } = call
  const user = call.parameter('user')
  const body = await readJsonBody(request, { maxBytes: MAX_LOGIN_BYTES })
  const password = isObject(body) ? body.password : undefined
  const caller = typeof password === 'string' ? await host.findCaller(request, password) : undefined
  if (caller === undefined || typeof password !== 'string' || !user.startsWith(USER_PREFIX)) {
    throw new FeedmeshError(
      'UNAUTHENTICATED',
      'the password is not an API key of this feed; use user api and a key as the password',
    )
  }
  return sendJson(reply, { ok: true, id: user, rev: '1-0', token: password }, 201)
}

/** The client forgets its token. The key behind it stays valid: other machines may use it, and the operator revokes it. */
async function answerLogout({ request, reply, host }: NpmCall): Promise<unknown> {
  await host.getCaller(request)
  return sendJson(reply, { ok: true })
}

async function answerTokens({ request, reply, host }: NpmCall): Promise<unknown> {
  const caller = await host.getCaller(request)
  const token = {
    token: caller.name,
    key: caller.name,
    cidr_whitelist: null,
    readonly: !caller.permissions.has('publish'),
    created: '',
    updated: '',
  }
  return sendJson(reply, { objects: [token], total: 1, urls: {} })
}

async function refuseTokenChange({ request, host }: NpmCall): Promise<unknown> {
  await host.getCaller(request)
  throw new FeedmeshError('FORBIDDEN', 'API keys are made, changed and revoked on the node, by its operator')
}

async function answerProfile({ request, reply, host }: NpmCall): Promise<unknown> {
  const { name } = await host.getCaller(request)
  return sendJson(reply, { name, email: '', email_verified: false, fullname: '', tfa: false, created: '', updated: '' })
}
