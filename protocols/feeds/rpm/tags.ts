/** Numbers of header entries. https://rpm-software-management.github.io/rpm/manual/tags.html */

/** Of the signature header. */
export const SIGNATURE_TAGS = {
  dsaHeader: 267,
  rsaHeader: 268,
  sha1Header: 269,
  longSize: 270,
  longArchiveSize: 271,
  sha256Header: 273,
  openPgp: 278,
  size: 1000,
  pgp: 1002,
  md5: 1004,
  gpg: 1005,
  archiveSize: 1007,
} as const

/** Of the main header. */
export const TAGS = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  summary: 1004,
  description: 1005,
  buildTime: 1006,
  buildHost: 1007,
  size: 1009,
  vendor: 1011,
  license: 1014,
  packager: 1015,
  group: 1016,
  url: 1020,
  arch: 1022,
  oldFileNames: 1027,
  fileModes: 1030,
  fileFlags: 1037,
  sourceRpm: 1044,
  archiveSize: 1046,
  noSource: 1051,
  noPatch: 1052,
  changelogTime: 1080,
  changelogName: 1081,
  changelogText: 1082,
  sourcePackage: 1106,
  dirIndexes: 1116,
  baseNames: 1117,
  dirNames: 1118,
  payloadFormat: 1124,
  payloadCompressor: 1125,
  longSize: 5009,
  payloadDigest: 5092,
  payloadDigestAlgorithm: 5093,
  payloadDigestUnpacked: 5097,
} as const

/** Names, flags and versions of what a package says of others, in the order that `primary.xml` lists the kinds. */
export const DEPENDENCY_TAGS = {
  provides: [1047, 1112, 1113],
  requires: [1049, 1048, 1050],
  conflicts: [1054, 1053, 1055],
  obsoletes: [1090, 1114, 1115],
  suggests: [5049, 5051, 5050],
  enhances: [5055, 5057, 5056],
  recommends: [5046, 5048, 5047],
  supplements: [5052, 5054, 5053],
} as const
export type DependencyKind = keyof typeof DEPENDENCY_TAGS
export const DEPENDENCY_KINDS = Object.keys(DEPENDENCY_TAGS) as readonly DependencyKind[]
