/**
 * Audits and signatures. A feed holds no advisories and no signing keys, and says so in the forms the clients accept.
 * https://docs.npmjs.com/cli/commands/npm-audit
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, readJsonBody } from '../request-body.ts'
import { type NpmCall, type NpmHandler, sendJson } from './call.ts'
import type { PathRoute } from './path-router.ts'

/** Names and versions of a whole dependency tree, unpacked. */
const MAX_AUDIT_BYTES = 32 * 1024 ** 2

export function createAuditRoutes(): PathRoute<NpmHandler>[] {
  return [
    { methods: ['POST'], pattern: '/-/npm/v1/security/advisories/bulk', handler: answerBulk },
    { methods: ['POST'], pattern: '/-/npm/v1/security/audits/quick', handler: answerQuick },
    { methods: ['POST'], pattern: '/-/npm/v1/security/audits', handler: answerQuick },
    { methods: ['GET'], pattern: '/-/npm/v1/keys', handler: answerKeys },
    { methods: ['GET'], pattern: '/-/npm/v1/attestations/:package', handler: answerAttestations },
  ]
}

/** Advisories by package name: none. */
async function answerBulk({ request, reply, host }: NpmCall): Promise<unknown> {
  await host.getFeed(request, 'read')
  await readAudit(request)
  return sendJson(reply, {})
}

/** pnpm 10 and yarn 1 crash on `{}`. */
async function answerQuick({ request, reply, host }: NpmCall): Promise<unknown> {
  await host.getFeed(request, 'read')
  const audit = await readAudit(request)
  const count = isObject(audit.dependencies) ? Object.keys(audit.dependencies).length : 0
  const metadata = {
    vulnerabilities: { info: 0, low: 0, moderate: 0, high: 0, critical: 0 },
    dependencies: count,
    devDependencies: 0,
    optionalDependencies: 0,
    totalDependencies: count,
  }
  return sendJson(reply, { actions: [], advisories: {}, muted: [], metadata })
}

async function readAudit(request: NpmCall['request']): Promise<Readonly<Record<string, unknown>>> {
  const audit = await readJsonBody(request, { maxBytes: MAX_AUDIT_BYTES })
  if (!isObject(audit)) throw new FeedmeshError('BAD_INPUT', 'an audit request is a JSON object')
  return audit
}

async function answerKeys({ request, reply, host }: NpmCall): Promise<unknown> {
  await host.getFeed(request, 'read')
  return sendJson(reply, { keys: [] })
}

async function answerAttestations(call: NpmCall): Promise<unknown> {
  await call.host.getFeed(call.request, 'read')
  throw new FeedmeshError('NOT_FOUND', `no attestations for ${call.parameter('package').slice(0, 300)}`)
}
