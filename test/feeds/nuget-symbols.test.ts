import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { nugetFeedType } from '../../protocols/feeds/nuget/feed-type.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from '../support/feed-server.ts'
import { createPackage } from './nuget-package.ts'
import { createForm } from './nuget-sample.ts'

/** The head of a portable PDB with the streams `#~` and `#Pdb`. */
function createPdb(): Buffer {
  const version = Buffer.from('PDB v1.0\0\0\0\0')
  const head = Buffer.alloc(16)
  head.write('BSJB', 'latin1')
  head.writeUInt32LE(version.length, 12)
  const stream = (offset: number, name: string) => {
    const fields = Buffer.alloc(8)
    fields.writeUInt32LE(offset, 0)
    return Buffer.concat([fields, Buffer.from(name.padEnd(Math.ceil((name.length + 1) / 4) * 4, '\0'))])
  }
  const streams = Buffer.concat([Buffer.from([0, 0, 2, 0]), stream(200, '#~'), stream(100, '#Pdb')])
  const guid = Buffer.from('33221100554477668899aabbccddeeff', 'hex')
  return Buffer.concat([Buffer.concat([head, version, streams], 100), guid, Buffer.alloc(2000, 5)])
}

describe('nuget symbols', () => {
  it('are pushed after their package, handed back, and served one by one', async () => {
    await using server = await createFeedServer([nugetFeedType])
    server.addFeed('nuget', 'main')
    const send = (method: 'GET' | 'PUT', path: string, file?: Buffer) => {
      const form = file === undefined ? undefined : createForm(file)
      const headers = withKey(PUBLISHER_KEY, form?.headers)
      return server.app.inject({ method, url: `/nuget/main/${path}`, headers, ...(form && { payload: form.payload }) })
    }
    const pdb = createPdb()
    const members = [{ name: 'lib/net45/Lab.pdb', content: pdb, isDeflated: true }]
    const symbols = createPackage({ id: 'Lab', version: '1.0', members })
    assert.equal((await send('PUT', 'v3/symbolpackage', symbols)).statusCode, 404)
    assert.equal((await send('PUT', 'v3/package', createPackage({ id: 'Lab', version: '1.0' }))).statusCode, 201)
    assert.equal((await send('PUT', 'v3/symbolpackage', symbols)).statusCode, 201)
    assert.equal((await send('PUT', 'v3/symbolpackage', symbols)).statusCode, 409)
    assert.ok((await send('GET', 'v3/flat/lab/1.0.0/lab.1.0.0.snupkg')).rawPayload.equals(symbols))
    const id = '00112233445566778899aabbccddeeff'
    const found = await send('GET', `symbols/Lab.pdb/${id}FFFFFFFF/Lab.pdb`)
    assert.equal(found.statusCode, 200)
    assert.ok(found.rawPayload.equals(pdb))
    for (const path of [
      `symbols/Lab.pdb/${id.replace('0', '1')}FFFFFFFF/Lab.pdb`,
      `symbols/x.pdb/${id}FFFFFFFF/x.pdb`,
      'symbols/Lab.pdb/x/Lab.pdb',
    ]) {
      assert.equal((await send('GET', path)).statusCode, 404, path)
    }
  })
})
