#!/bin/sh
# Installs the package clients that the client tests drive, in exact versions, into one folder.
# Usage: test/clients/install.sh [FOLDER]   default: $FEEDMESH_CLIENTS, else node_modules/.cache/feedmesh-clients
# Running it again changes nothing. A client that cannot be had here is named; its tests then skip it by name.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-${FEEDMESH_CLIENTS:-$root/node_modules/.cache/feedmesh-clients}}
mkdir -p "$folder"
[ -f "$folder/package.json" ] || echo '{"private":true}' >"$folder/package.json"

# One folder for each client: two of them bring the same command.
while read -r name package; do
  version=${package##*@}
  installed=$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' "$folder/$name/node_modules/${package%@*}/package.json" 2>/dev/null | head -n 1)
  if [ "$installed" = "$version" ]; then
    echo "$name: $version is there"
  elif npm install --prefix "$folder/$name" --ignore-scripts --no-audit --no-fund --no-save --loglevel=error "$package" >/dev/null; then
    echo "$name: installed $version"
  else
    echo "$name: SKIPPED, $package cannot be installed here"
  fi
done <<CLIENTS
pnpm pnpm@10.34.9
yarn1 yarn@1.22.22
yarn4 @yarnpkg/cli-dist@4.18.1
bun @oven/bun-linux-x64@1.4.5
deno @deno/linux-x64-glibc@2.9.6
nuget5 nuget-exe@5.8.0
CLIENTS

for name in npm curl wget mono nuget script; do
  command -v "$name" >/dev/null || echo "$name: SKIPPED, not on PATH"
done
