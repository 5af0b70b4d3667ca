/** Addresses for join codes: loopback ones only when there is nothing else. */
export function dialable(addresses: readonly string[]): readonly string[] {
  const outward = addresses.filter((address) => !/\/ip4\/127\.|\/ip6\/::1\//.test(address))
  return outward.length > 0 ? outward : addresses
}

const TCP_ADDRESS =
  /^\/(?:ip4\/[0-9.]{7,15}|ip6\/[0-9a-fA-F:.%]{2,64}|dns[46]?\/[A-Za-z0-9.-]{1,253})\/tcp\/[1-9][0-9]{0,4}(?:\/p2p\/([1-9A-HJ-NP-Za-km-z]+))?$/

/** Whether an address that somebody tells of a peer is worth a dial: TCP, and of that peer if it names one. */
export function isTcpAddressOf(address: string, peerId: string): boolean {
  const found = TCP_ADDRESS.exec(address)
  return found !== null && (found[1] === undefined || found[1] === peerId)
}
