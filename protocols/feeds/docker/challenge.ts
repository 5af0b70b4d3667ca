/** Where a client without a key gets a token. https://distribution.github.io/distribution/spec/auth/token/ */

/** `scope` as `repository:NAME:pull,push`; `registryUrl` as `https://host:port/v2`. */
export function renderChallenge(registryUrl: string, scope?: string): string {
  const service = new URL(registryUrl).host
  return `Bearer realm="${registryUrl}/token",service="${service}"${scope === undefined ? '' : `,scope="${scope}"`}`
}
