#!/usr/bin/env node
// Old JavaScript on purpose: an old Node must get as far as the line that says what is missing.
'use strict'

var fs = require('fs')
var path = require('path')

var NEEDED = [24, 12]
// Of a node that runs for months: see src/heap.ts. They can be given to a process only when it begins.
var HEAP_FLAGS = ['--min-semi-space-size=4', '--max-semi-space-size=4']
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
  if (process.argv[2] === 'start' && process.execArgv.indexOf(HEAP_FLAGS[0]) < 0) restartWith(HEAP_FLAGS)
  var built = path.join(__dirname, '..', 'dist', 'src', 'main.js')
  var source = path.join(__dirname, '..', 'src', 'main.ts')
  var main = fs.existsSync(built) ? built : source
  // Not written as import(): a Node without it could not even parse this file.
  // oxlint-disable-next-line typescript/no-implied-eval
  var load = new Function('url', 'return import(url)')
  load(require('url').pathToFileURL(main).href)
}

/** The same process, begun anew; where the system cannot do that it goes on as it is. */
function restartWith(flags) {
  if (typeof process.execve !== 'function' || process.platform === 'win32') return
  var args = [process.execPath].concat(flags, process.execArgv, process.argv.slice(1))
  process.execve(process.execPath, args, process.env)
}
