/** Packages made here: zip archives of stored or deflated members, and the manifest in them. */

import { crc32, deflateRawSync } from 'node:zlib'

export interface ZipMember {
  readonly name: string
  readonly content: Uint8Array | string
  readonly isDeflated?: boolean
  /** What the member says it unpacks to, when that is not the truth. */
  readonly claimedSize?: number
}

export function createZip(members: readonly ZipMember[]): Buffer {
  const local: Buffer[] = []
  const central: Buffer[] = []
  let offset = 0
  for (const member of members) {
    const content = Buffer.from(member.content)
    const data = member.isDeflated === true ? deflateRawSync(content) : content
    const name = Buffer.from(member.name)
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(0x0800, 2)
    fields.writeUInt16LE(member.isDeflated === true ? 8 : 0, 4)
    fields.writeUInt16LE(0x21, 8)
    fields.writeUInt32LE(crc32(content), 10)
    fields.writeUInt32LE(data.length, 14)
    fields.writeUInt32LE(member.claimedSize ?? content.length, 18)
    fields.writeUInt16LE(name.length, 22)
    local.push(Buffer.from('PK\x03\x04'), fields, name, data)
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    central.push(Buffer.from('PK\x01\x02\x14\x00'), fields, tail, name)
    offset += 30 + name.length + data.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(members.length & 0xffff, 8)
  end.writeUInt16LE(members.length & 0xffff, 10)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...local, directory, end])
}

export interface PackageSpec {
  readonly id: string
  readonly version: string
  /** Elements of `metadata` as XML. */
  readonly more?: string
  readonly description?: string
  readonly members?: readonly ZipMember[]
}

export function createNuspec({ id, version, more = '', description = 'A package.' }: PackageSpec): string {
  return `<?xml version="1.0"?>
<package xmlns="http://schemas.microsoft.com/packaging/2010/07/nuspec.xsd"><metadata>
<id>${id}</id><version>${version}</version><authors>Acme</authors><description>${description}</description>${more}
</metadata></package>`
}

/** The smallest archive that nuget itself unpacks. */
export function createPackage(spec: PackageSpec): Buffer {
  const types =
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="nuspec" ContentType="application/octet"/><Default Extension="txt" ContentType="application/octet"/><Default Extension="pdb" ContentType="application/octet"/></Types>'
  const relations = `<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Type="http://schemas.microsoft.com/packaging/2010/07/manifest" Target="/${spec.id}.nuspec" Id="R1"/></Relationships>`
  return createZip([
    { name: '_rels/.rels', content: relations },
    { name: `${spec.id}.nuspec`, content: createNuspec(spec) },
    { name: 'content/readme.txt', content: `${spec.id} ${spec.version}\n`.repeat(40), isDeflated: true },
    ...(spec.members ?? []),
    { name: '[Content_Types].xml', content: types },
  ])
}
