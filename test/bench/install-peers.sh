#!/bin/sh
# Installs the peers that the benchmarks compare with, in exact versions, into one folder.
# Usage: test/bench/install-peers.sh [FOLDER]   default: $FEEDMESH_BENCH, else node_modules/.cache/feedmesh-bench
# Running it again changes nothing. A peer that cannot be had here is named; its rows of the table then say "skipped".
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-${FEEDMESH_BENCH:-$root/node_modules/.cache/feedmesh-bench}}
version=6.10.4
home=$folder/verdaccio
mkdir -p "$home"

installed=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' "$home/node_modules/verdaccio/package.json" 2>/dev/null | head -n 1)
if [ "$installed" = "$version" ]; then
  echo "verdaccio: $version is there"
  exit 0
fi
# One of its dependencies asks for a tag of node-fetch that not every registry serves.
printf '{"private":true,"dependencies":{"verdaccio":"%s"},"overrides":{"node-fetch":"2.7.0"}}\n' "$version" >"$home/package.json"
if npm install --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; then
  echo "verdaccio: installed $version"
else
  echo "verdaccio: SKIPPED, verdaccio@$version cannot be installed here"
fi
