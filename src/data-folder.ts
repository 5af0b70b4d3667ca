/**
 * The data folder of a node:
 *   identity.key   Ed25519 key (0600)             config.json   what differs from the defaults
 *   admin.key      API key of the local commands  run.json      where the running node answers; removed when it stops
 *   records/       LevelDB                        blobs/        files over 64 KiB
 *   floor.json     highest manifests seen         recovery/     recovery keys of the feeds made here, until taken away
 *   index-keys/    private keys of signed package lists (0600 each)
 *   essentials.bin what no peer can give back, should records/ be lost
 *   schema         version of all this
 */

import { randomBytes } from 'node:crypto'
import { cp, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from './config.ts'
import { CONFIG_FILE, parseConfig, writeConfig } from './config.ts'
import { FeedmeshError } from './errors.ts'
import { createIdentity } from './network/identity.ts'
import { ApiKeys } from './operations/access.ts'
import { replaceFile } from './store/durable-file.ts'
import { makeFolder, syncTree } from './store/folders.ts'
import { openLevelRecords, SCHEMA_VERSION } from './store/level-records.ts'
import { pathExists } from './store/path-exists.ts'

export interface DataPaths {
  readonly identity: string
  readonly adminKey: string
  readonly run: string
  readonly records: string
  readonly blobs: string
  readonly floor: string
  readonly essentials: string
  readonly schema: string
  readonly recoveryKeys: string
  readonly indexKeys: string
}

export function dataPaths(directory: string): DataPaths {
  return {
    identity: join(directory, 'identity.key'),
    adminKey: join(directory, 'admin.key'),
    run: join(directory, 'run.json'),
    records: join(directory, 'records'),
    blobs: join(directory, 'blobs'),
    floor: join(directory, 'floor.json'),
    essentials: join(directory, 'essentials.bin'),
    schema: join(directory, 'schema'),
    recoveryKeys: join(directory, 'recovery'),
    indexKeys: join(directory, 'index-keys'),
  }
}

/**
 * Refuses a folder that a newer version has written, before anything in it is opened, let alone changed.
 * @throws DATA_NEWER, CORRUPT
 */
export async function verifyNotNewer(directory: string): Promise<void> {
  const path = dataPaths(directory).schema
  if (!(await pathExists(path))) return
  const text = (await readFile(path, 'utf8')).slice(0, 32)
  const version = /^(\d{1,9})\n$/.exec(text)?.[1]
  if (version === undefined)
    throw new FeedmeshError(
      'CORRUPT',
      `${path} does not hold a version number; if nothing newer than this Feedmesh ever ran here, remove it and start again`,
    )
  if (Number(version) > SCHEMA_VERSION)
    throw new FeedmeshError(
      'DATA_NEWER',
      `${directory} has schema version ${version}, this program knows ${SCHEMA_VERSION}: start the newer Feedmesh again, or restore a backup made before the upgrade`,
    )
}

/** From here on older versions leave the folder alone. */
export async function markSchema(directory: string): Promise<void> {
  const path = dataPaths(directory).schema
  if (!(await pathExists(path))) await replaceFile(path, `${SCHEMA_VERSION}\n`)
}

/** Whether `initDataFolder` finished here: the configuration is written last. */
export async function isDataFolder(directory: string): Promise<boolean> {
  return await pathExists(join(directory, CONFIG_FILE))
}

/**
 * Makes the folder. Interrupted half-way it can be called again: what is there is kept, the keys of commands are made anew.
 * @returns the operator's admin key, shown this once. @throws EXISTS when the folder is complete; BAD_INPUT
 */
export async function initDataFolder(
  directory: string,
  config: Partial<Config>,
): Promise<{ readonly peerId: string; readonly adminKey: string }> {
  if (await isDataFolder(directory))
    throw new FeedmeshError(
      'EXISTS',
      `${directory} is a data folder already; feedmesh start --data ${directory} uses it`,
    )
  parseConfig(config, 'the configuration given')
  const paths = dataPaths(directory)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await mkdir(paths.recoveryKeys, { recursive: true, mode: 0o700 })
  await rm(paths.identity, { force: true })
  const { peerId } = await createIdentity(paths.identity)
  const adminKey = await createAdminKeys(paths)
  await markSchema(directory)
  await writeConfig(directory, config)
  return { peerId, adminKey }
}

async function createAdminKeys(paths: DataPaths): Promise<string> {
  await using records = await openLevelRecords({ directory: paths.records })
  const access = await ApiKeys.open(records, Date.now, randomBytes)
  const local = await access.create({ feed: null, can: ['admin'], name: 'local commands' })
  await replaceFile(paths.adminKey, `${local.key}\n`)
  const operator = await access.create({ feed: null, can: ['admin'], name: 'operator' })
  return operator.key
}

/**
 * Makes a data folder from a backup. The node that runs on it signs nothing for its feeds before it has asked its peers what
 * it signed after the backup was made. @throws EXISTS, NOT_FOUND when `backup` is not a complete one
 */
export async function restoreDataFolder(backup: string, directory: string): Promise<void> {
  if (!(await isDataFolder(backup)))
    throw new FeedmeshError('NOT_FOUND', `${backup} is not a complete backup; feedmesh backup makes one`)
  if (await isDataFolder(directory))
    throw new FeedmeshError('EXISTS', `${directory} is a data folder already; move it away first`)
  const isConfig = (path: string) => path === join(backup, CONFIG_FILE)
  await makeFolder(directory)
  await cp(backup, directory, { recursive: true, filter: (source) => !isConfig(source) })
  await syncTree(directory)
  // From here on it is a data folder, so nothing of it may be lost any more.
  await replaceFile(join(directory, CONFIG_FILE), await readFile(join(backup, CONFIG_FILE)))
}

/** Tells local commands where the node answers. */
export async function writeRunFile(directory: string, url: string): Promise<void> {
  await replaceFile(dataPaths(directory).run, `${JSON.stringify({ url, pid: process.pid })}\n`)
}

export async function removeRunFile(directory: string): Promise<void> {
  await rm(dataPaths(directory).run, { force: true })
}

function parseRunFile(json: string): string | undefined {
  try {
    const { url } = JSON.parse(json) as { url?: unknown }
    return typeof url === 'string' ? url : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Where the running node answers, and the key for it. @throws NODE_NOT_RUNNING, CORRUPT */
export async function readLocalAccess(directory: string): Promise<{ readonly url: string; readonly key: string }> {
  const paths = dataPaths(directory)
  let run: string
  let key: string
  try {
    run = await readFile(paths.run, 'utf8')
    key = await readFile(paths.adminKey, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    throw new FeedmeshError(
      'NODE_NOT_RUNNING',
      `no node runs on ${directory}; start it with feedmesh start --data ${directory}`,
      { cause },
    )
  }
  const url = parseRunFile(run)
  if (url === undefined)
    throw new FeedmeshError('CORRUPT', `${paths.run} cannot be read; remove it and start the node again`)
  return { url, key: key.trim() }
}
