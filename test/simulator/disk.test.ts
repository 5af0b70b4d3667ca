import { noFaults } from '../../src/fault-points.ts'
import { MediumBlobs } from '../../src/store/medium-blobs.ts'
import { RecentlySealed } from '../../src/store/recently-sealed.ts'
import { testBlobs } from '../conformance/blobs.ts'
import { testRecords } from '../conformance/records.ts'
import { createRandom } from '../support/random.ts'
import { Disk, SimulatedMedium, SimulatedRecords } from './disk.ts'
import { DiskImage } from './disk-image.ts'

function openDisk(): Disk {
  const setTimer = (run: () => void) => {
    queueMicrotask(run)
    return () => {}
  }
  const image = new DiskImage()
  return new Disk({ image, random: createRandom(1), setTimer, reach: noFaults, writeMs: 5, slowReads: 0.1 })
}

testRecords('simulated', async () => new SimulatedRecords(openDisk()))

testBlobs('simulated', async () => {
  const disk = openDisk()
  const records = new SimulatedRecords(disk)
  let nowMs = 0
  const sealed = new RecentlySealed(600_000, () => nowMs)
  return {
    records,
    blobs: new MediumBlobs({ records, medium: new SimulatedMedium(disk), reach: noFaults, sealed }),
    advance: (ms) => {
      nowMs += ms
    },
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
  }
})
