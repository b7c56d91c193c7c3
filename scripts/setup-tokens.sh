#!/usr/bin/env bash
# Sets up what the tests run on beside SoftHSM: NSS softokn, openCryptoki's soft token and p11-kit as tokens, Redis, Prometheus and Chromium.
# Only what is missing; says what it does on standard error, and nothing if there is nothing to do. scripts/test sources it after setup.sh, and
# runs the tests by way of as_tester, which it sets.
#
# openCryptoki has one configuration and one daemon for the whole machine. What is done to them: slots 61 to 64 are added to
# /etc/opencryptoki/opencryptoki.conf, with folders of their own in /var/lib/opencryptoki, the daemon is (re)started, and a user who is
# not root becomes a member of the group pkcs11. No other slot is touched. To undo it: delete the lines between the two marks and the
# folders pinbridge-test-*, and `gpasswd -d USER pkcs11`.

OCK_CONFIG=/etc/opencryptoki/opencryptoki.conf
OCK_MARK='# pinbridge tests'

has_one_of() {
  local path
  for path in "$@"; do
    if [ -e "$path" ]; then return 0; fi
  done
  return 1
}

has_browser() {
  local name
  for name in chromium google-chrome google-chrome-stable chrome; do
    if command -v "$name" >/dev/null; then return 0; fi
  done
  return 1
}

install_missing_tokens() {
  local missing=()
  has_one_of /usr/lib/*/libsoftokn3.so /usr/lib/*/nss/libsoftokn3.so || missing+=(libnss3)
  command -v certutil >/dev/null || missing+=(libnss3-tools)
  has_one_of /usr/sbin/pkcsslotd || missing+=(opencryptoki)
  command -v p11-kit >/dev/null || missing+=(p11-kit)
  has_one_of /usr/lib/*/pkcs11/p11-kit-client.so || missing+=(p11-kit-modules)
  # Started by the tests themselves, on a port and in a folder of their own.
  command -v redis-server >/dev/null || missing+=(redis-server)
  # The tests build a PKCS#11 module of their own, which fails on demand.
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  # GET /docs is looked at in a browser. Ubuntu's package is a snap, which does not run everywhere: there one on PATH is taken, or none.
  if ! has_browser && ! grep -q '^ID=ubuntu$' /etc/os-release; then missing+=(chromium); fi
  if [ "${#missing[@]}" -gt 0 ]; then install_from_apt "${missing[@]}"; fi
}

# Where test/support/prometheus.ts looks, before it looks along the path.
PROMETHEUS=$PINBRIDGE_ROOT/node_modules/.pinbridge-prometheus

has_prometheus() {
  [ -x "$PROMETHEUS/promtool" ] || { command -v prometheus && command -v promtool; } >/dev/null
}

# Debian's package is unpacked and not installed: it would have the machine run a server on port 9090, now and at every start. The
# tests start the program themselves, as they do with Redis.
unpack_prometheus() {
  local folder as_root=()
  folder=$(mktemp -d)
  say 'getting prometheus with apt-get; it is unpacked in node_modules and not installed'
  if ! (cd "$folder" && quietly apt-get download -q prometheus 2>/dev/null); then
    if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
    quietly "${as_root[@]}" apt-get update -q || say 'apt-get update failed; trying with the package lists that are there'
    (cd "$folder" && quietly apt-get download -q prometheus) || fail 'apt-get could not download prometheus'
  fi
  dpkg-deb -x "$folder"/prometheus_*.deb "$folder/unpacked"
  rm -rf "$PROMETHEUS"
  mv "$folder/unpacked/usr/bin" "$PROMETHEUS"
  rm -rf "$folder"
}

has_test_slots() { grep -q "^$OCK_MARK: end" "$OCK_CONFIG"; }

# Run as root. A running daemon reads its configuration at its start only.
add_test_slots() {
  local n fresh=$OCK_CONFIG.pinbridge
  sed "/^$OCK_MARK: begin/,/^$OCK_MARK: end/d" "$OCK_CONFIG" >"$fresh"
  printf '%s: begin\n' "$OCK_MARK" >>"$fresh"
  for n in 1 2 3 4; do
    printf 'slot 6%d\n{\nstdll = libpkcs11_sw.so\ntokname = pinbridge-test-%d\n}\n' "$n" "$n" >>"$fresh"
    install -d -m 0770 -o root -g pkcs11 "/var/lib/opencryptoki/pinbridge-test-$n" "/var/lib/opencryptoki/pinbridge-test-$n/TOK_OBJ"
  done
  printf '%s: end\n' "$OCK_MARK" >>"$fresh"
  chmod 0644 "$fresh"
  mv "$fresh" "$OCK_CONFIG"
  if [ -d /run/systemd/system ]; then
    systemctl stop pkcsslotd || true
  elif [ "$(cat "/proc/$(cat /var/run/pkcsslotd.pid 2>/dev/null)/comm" 2>/dev/null)" = pkcsslotd ]; then
    kill "$(cat /var/run/pkcsslotd.pid)"
    sleep 1
  fi
}

# openCryptoki lets root in, and who is a member; a membership that is new is not yet one of this shell's.
join_group() {
  local user
  user=$(id -un)
  as_tester=()
  if [ "$(id -u)" = 0 ]; then return 0; fi
  if ! id -nG "$user" | grep -qw pkcs11; then
    say "adding $user to the group pkcs11, which may use openCryptoki; sudo may ask for your password"
    sudo usermod -aG pkcs11 "$user"
  fi
  if ! id -nG | grep -qw pkcs11; then as_tester=(sudo -u "$user" -g pkcs11 --); fi
}

set_up_tokens() {
  install_missing_tokens
  if ! has_test_slots; then
    say "adding slots 61 to 64 for the tests to $OCK_CONFIG"
    if [ "$(id -u)" = 0 ]; then
      add_test_slots
    else
      say 'sudo may ask for your password'
      sudo bash -c "set -euo pipefail; $(declare -p OCK_CONFIG OCK_MARK); $(declare -f add_test_slots); add_test_slots"
    fi
  fi
  has_prometheus || unpack_prometheus
  join_group
  "$PINBRIDGE_ROOT/native-config/opencryptoki/start"
}

set_up_tokens
