/** What registry clients have to be able to do with a docker feed; runs against any node that serves one. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Workbench } from './drivers.ts'

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly platform?: { readonly architecture: string } }[]
}

/** An OCI layout `oci:NAME` with an image of one file for each tag. */
export async function makeLayout({ ok, folder }: Workbench, name: string, tags: readonly string[]): Promise<void> {
  await ok('umoci', 'init', '--layout', name)
  for (const tag of tags) {
    await ok('umoci', 'new', '--image', `${name}:${tag}`)
    const file = join(folder, `file-of-${tag}`)
    await writeFile(file, `${name} ${tag}\n`.repeat(40_000))
    await ok('umoci', 'insert', '--image', `${name}:${tag}`, file, '/file')
    await ok(
      'umoci',
      'config',
      '--image',
      `${name}:${tag}`,
      '--config.cmd',
      tag,
      '--architecture',
      tag === 'arm' ? 'arm64' : 'amd64',
    )
  }
}

/** Raw bytes of a manifest as the registry gives them, with the digest they have. */
async function inspect(
  { ok, images }: Workbench,
  reference: string,
): Promise<{ readonly raw: string; readonly digest: string }> {
  const raw = await ok('skopeo', 'inspect', '--raw', '--tls-verify=false', `docker://${images}/${reference}`)
  return { raw, digest: `sha256:${createHash('sha256').update(raw).digest('hex')}` }
}

export async function skopeoPush(bench: Workbench): Promise<void> {
  const { ok, images } = bench
  await makeLayout(bench, 'tools', ['v1', 'v2'])
  const to = (reference: string) => ['--dest-tls-verify=false', `docker://${images}/${reference}`]
  await ok('skopeo', 'copy', 'oci:tools:v1', ...to('team/tools:v1'))
  await ok('skopeo', 'copy', 'oci:tools:v2', ...to('team/tools:v2'))
  // Within the registry: the blobs are mounted.
  await ok('skopeo', 'copy', '--src-tls-verify=false', `docker://${images}/team/tools:v1`, ...to('other/tools:copied'))
  // Docker's own format, and a tag that moves.
  await ok('skopeo', 'copy', '--format', 'v2s2', 'oci:tools:v1', ...to('team/tools:docker'))
  await ok('skopeo', 'copy', 'oci:tools:v1', ...to('team/tools:moving'))
  await ok('skopeo', 'copy', 'oci:tools:v2', ...to('team/tools:moving'))
  await skopeoRead(bench)
}

export async function skopeoRead(bench: Workbench): Promise<void> {
  const { ok, images, folder } = bench
  const listed = JSON.parse(await ok('skopeo', 'list-tags', '--tls-verify=false', `docker://${images}/team/tools`))
  assert.deepEqual(listed.Tags, ['docker', 'moving', 'v1', 'v2'])
  const [v1, v2, moving] = await Promise.all(['v1', 'v2', 'moving'].map((tag) => inspect(bench, `team/tools:${tag}`)))
  assert.equal(moving?.digest, v2?.digest)
  assert.equal((await inspect(bench, `team/tools@${v1?.digest}`)).raw, v1?.raw)
  assert.equal((await inspect(bench, 'other/tools:copied')).digest, v1?.digest)
  const from = ['--src-tls-verify=false', `docker://${images}/team/tools@${v1?.digest}`]
  await rm(join(folder, 'down'), { recursive: true, force: true })
  await ok('skopeo', 'copy', ...from, 'dir:down')
  assert.equal(await readFile(join(folder, 'down/manifest.json'), 'utf8'), v1?.raw)
  assert.ok((await readdir(join(folder, 'down'))).length >= 4)
}

/** Two architectures under one tag. */
export async function multiArchPush(bench: Workbench): Promise<void> {
  const { ok, images, folder } = bench
  await makeLayout(bench, 'multi', ['amd', 'arm'])
  await ok('buildah', 'manifest', 'create', 'list')
  for (const tag of ['amd', 'arm'])
    await ok(
      'buildah',
      'manifest',
      'add',
      '--arch',
      tag === 'arm' ? 'arm64' : 'amd64',
      'list',
      `oci:${join(folder, 'multi')}:${tag}`,
    )
  await ok('buildah', 'manifest', 'push', '--all', '--tls-verify=false', 'list', `docker://${images}/team/multi:v1`)
  await multiArchRead(bench)
}

export async function multiArchRead(bench: Workbench): Promise<void> {
  const { ok, images, folder } = bench
  const { raw } = await inspect(bench, 'team/multi:v1')
  const index = JSON.parse(raw) as Index
  assert.deepEqual(
    index.manifests.map(({ platform }) => platform?.architecture ?? '').sort((a, b) => a.localeCompare(b)),
    ['amd64', 'arm64'],
  )
  await rm(join(folder, 'all'), { recursive: true, force: true })
  await ok('skopeo', 'copy', '--all', '--src-tls-verify=false', `docker://${images}/team/multi:v1`, 'oci:all:v1')
  for (const { digest } of index.manifests) assert.equal((await inspect(bench, `team/multi@${digest}`)).digest, digest)
}

export async function skopeoDelete(bench: Workbench): Promise<void> {
  const { ok, run, images } = bench
  await makeLayout(bench, 'gone', ['v1'])
  await ok('skopeo', 'copy', '--dest-tls-verify=false', 'oci:gone:v1', `docker://${images}/team/gone:v1`)
  await ok('skopeo', 'delete', '--tls-verify=false', `docker://${images}/team/gone:v1`)
  const after = await run('skopeo', 'inspect', '--tls-verify=false', `docker://${images}/team/gone:v1`)
  assert.notEqual(after.exitCode, 0)
  assert.match(after.stderr, /manifest unknown|MANIFEST_UNKNOWN|name unknown|no image/i)
}

/** Built, pushed, removed and pulled again with the file inside. */
export async function buildahPush({ ok, images, folder }: Workbench): Promise<void> {
  await writeFile(join(folder, 'hello'), 'hello from buildah\n')
  const container = (await ok('buildah', 'from', 'scratch')).trim()
  await ok('buildah', 'copy', container, join(folder, 'hello'), '/hello')
  await ok('buildah', 'config', '--cmd', '/hello', container)
  await ok('buildah', 'commit', container, 'built')
  await ok('buildah', 'push', '--tls-verify=false', 'built', `docker://${images}/team/built:v1`)
}

export async function podmanRead({ ok, images, folder }: Workbench): Promise<void> {
  await ok('podman', 'pull', '-q', '--tls-verify=false', `${images}/team/built:v1`)
  await ok('podman', 'tag', `${images}/team/built:v1`, 'mine')
  await ok('podman', 'save', '--format', 'oci-dir', '-o', join(folder, 'saved'), 'mine')
  assert.ok((await readdir(join(folder, 'saved'))).includes('index.json'))
  await ok('podman', 'rmi', '-f', '--all')
}

export async function podmanPush({ ok, images }: Workbench): Promise<void> {
  await ok('podman', 'pull', '-q', '--tls-verify=false', `${images}/team/built:v1`)
  await ok('podman', 'push', '-q', '--tls-verify=false', `${images}/team/built:v1`, `${images}/team/built:podman`)
  const { stdout } = {
    stdout: await ok('podman', 'search', '--list-tags', '--tls-verify=false', `${images}/team/built`),
  }
  assert.match(stdout, /podman/)
  await ok('podman', 'rmi', '-f', '--all')
}

export async function craneScenario({ ok, images, folder }: Workbench): Promise<void> {
  await mkdir(join(folder, 'crane'), { recursive: true })
  await ok('crane', 'copy', `${images}/team/tools:v1`, `${images}/crane/tools:v1`)
  assert.match(await ok('crane', 'ls', `${images}/crane/tools`), /v1/)
  assert.match(await ok('crane', 'catalog', images.split('/')[0] ?? ''), /crane\/tools/)
  await ok('crane', 'pull', `${images}/crane/tools:v1`, join(folder, 'crane/tools.tar'))
}

export async function orasScenario({ ok, images, folder }: Workbench): Promise<void> {
  await writeFile(join(folder, 'note.txt'), 'a note\n')
  await ok('oras', 'push', '--plain-http', `${images}/oras/note:v1`, 'note.txt')
  await ok(
    'oras',
    'attach',
    '--plain-http',
    '--artifact-type',
    'application/vnd.example.sbom',
    `${images}/oras/note:v1`,
    'note.txt',
  )
  assert.match(await ok('oras', 'discover', '--plain-http', `${images}/oras/note:v1`), /vnd\.example\.sbom/)
  await rm(join(folder, 'note.txt'))
  await ok('oras', 'pull', '--plain-http', `${images}/oras/note:v1`)
  assert.equal(await readFile(join(folder, 'note.txt'), 'utf8'), 'a note\n')
}

export async function helmScenario({ ok, images, folder }: Workbench): Promise<void> {
  await ok('helm', 'create', 'chart')
  await ok('helm', 'package', 'chart')
  await ok('helm', 'push', 'chart-0.1.0.tgz', `oci://${images}/charts`, '--plain-http')
  await rm(join(folder, 'chart-0.1.0.tgz'))
  await ok('helm', 'pull', `oci://${images}/charts/chart`, '--version', '0.1.0', '--plain-http')
  assert.ok((await readdir(folder)).includes('chart-0.1.0.tgz'))
}
