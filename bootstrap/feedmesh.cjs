#!/usr/bin/env node
// Old JavaScript on purpose: an old Node must get as far as the line that says what is missing.
'use strict'

var fs = require('fs')
var path = require('path')

var NEEDED = [24, 12]
var found = process.versions.node.split('.').map(Number)

if (found[0] < NEEDED[0] || (found[0] === NEEDED[0] && found[1] < NEEDED[1])) {
  console.error(
    'feedmesh needs Node ' +
      NEEDED.join('.') +
      ' or newer, but this is Node ' +
      process.versions.node +
      ' (' +
      process.execPath +
      ')',
  )
  process.exit(1)
} else {
  var built = path.join(__dirname, '..', 'dist', 'src', 'main.js')
  var source = path.join(__dirname, '..', 'src', 'main.ts')
  var main = fs.existsSync(built) ? built : source
  // Not written as import(): a Node without it could not even parse this file.
  // oxlint-disable-next-line typescript/no-implied-eval
  var load = new Function('url', 'return import(url)')
  load(require('url').pathToFileURL(main).href)
}
