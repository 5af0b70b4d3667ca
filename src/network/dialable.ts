/** Addresses for join codes: loopback ones only when there is nothing else. */
export function dialable(addresses: readonly string[]): readonly string[] {
  const outward = addresses.filter((address) => !/\/ip4\/127\.|\/ip6\/::1\//.test(address))
  return outward.length > 0 ? outward : addresses
}
