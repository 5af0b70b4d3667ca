/** A neighbourhood of nodes on a memory network. */

import { Neighbourhood, type NeighbourhoodOptions } from '../../src/nearby/neighbourhood.ts'

export function createMemoryNeighbourhood(
  parts: Omit<NeighbourhoodOptions, 'addresses' | 'isAddressOf'>,
): Neighbourhood {
  return new Neighbourhood({
    ...parts,
    addresses: () => parts.host.addresses(),
    isAddressOf: (address, peerId) => address.startsWith('/memory/') && address.endsWith(peerId),
  })
}
