#!/usr/bin/env bash
# Sets up a checkout on Debian or Ubuntu: SoftHSM and a compiler from apt, packages from npm, the one native module, the build.
# Only what is missing, so that a second run is quick. The other scripts source it; it sets NODE, the Node.js 24 they run on.
# Says what it does on standard error, and nothing if there is nothing to do.
set -euo pipefail

PINBRIDGE_ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# The packages bring it: the Node.js of the machine only has to run npm.
NODE=$PINBRIDGE_ROOT/node_modules/.bin/node
LEAST_NODE=18

say() { printf 'setup: %s\n' "$1" >&2; }
fail() {
  say "$1"
  exit 1
}

# Runs a command quietly; shows what it printed only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" = 0 ] || tail -n 40 "$log" >&2
  rm -f "$log"
  return "$status"
}

# The paths at which `pinbridge init` looks for it.
has_softhsm() {
  local path
  for path in /usr/lib/softhsm /usr/lib/x86_64-linux-gnu/softhsm /usr/lib/aarch64-linux-gnu/softhsm /usr/local/lib/softhsm; do
    if [ -e "$path/libsofthsm2.so" ]; then return 0; fi
  done
  return 1
}

# The stamp is the lock file that was installed: npm ci removes it with node_modules, and it is written when all is done.
has_packages() { cmp -s package-lock.json node_modules/.pinbridge-installed && [ -x "$NODE" ]; }

has_build() {
  local fresh=node_modules/.pinbridge-build
  say 'building pinbridge'
  # Built aside and put in place whole: nothing of a removed source stays, and a service that runs from dist finds it there.
  rm -rf "$fresh" node_modules/.pinbridge-replaced
  # The stamp is as old as the start: what is edited meanwhile is built the next time.
  touch node_modules/.pinbridge-building
  quietly "$NODE" node_modules/typescript/bin/tsc -p src/tsconfig.json --outDir "$fresh" ||
    fail 'the build failed; the compiler'\''s last words are above'
  if [ -e dist ]; then mv dist node_modules/.pinbridge-replaced; fi
  mv "$fresh" dist
  mv node_modules/.pinbridge-building node_modules/.pinbridge-built
  rm -rf node_modules/.pinbridge-replaced
}

# In a subshell: whoever sources this keeps their folder and their file descriptors.
set_up() (
  cd "$PINBRIDGE_ROOT"
  if has_softhsm && has_packages && has_build; then return 0; fi
  exec 9<scripts/setup.sh
  if ! flock --nonblock 9; then
    say 'another set-up of this checkout is under way; waiting for it'
    flock 9
  fi
  install_missing_from_apt
  has_packages || install_packages
  has_build || build
)

set_up
