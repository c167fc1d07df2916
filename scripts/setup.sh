#!/usr/bin/env bash
# Makes this checkout ready: system packages, uv, and the locked dependencies in .venv. Quick when all of it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly stamp=.venv/.ready
readonly inputs=(requirements.lock pyproject.toml freehold/pyproject.toml modal-compat/pyproject.toml modalkit/pyproject.toml scripts/setup.sh)

main() {
  install_system_packages
  if [[ ${1:-} == --browser ]] && ! command -v chromium >/dev/null; then
    apt_install chromium
  fi
  if [[ ${1:-} == --promtool ]]; then
    fetch_promtool || say "No promtool: its test is left out."
  fi
  if [[ $(fingerprint) != "$(cat "$stamp" 2>/dev/null)" ]]; then
    install_python_packages
    fingerprint >"$stamp"
  fi
}

# A command that the engine runs, and the Debian package that has it.
needed_commands() {
  cat <<'LIST'
runc runc
tini-static tini
mmdebstrap mmdebstrap
busybox busybox-static
ip iproute2
nft nftables
ps procps
update-ca-certificates ca-certificates
redis-server redis-server
LIST
}

install_system_packages() {
  local missing
  missing=$(needed_commands | while read -r command package; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || echo "$package"
  done)
  [[ -z $missing ]] || apt_install $missing
}

apt_install() {
  if ! command -v apt-get >/dev/null; then
    stop "This set-up needs Debian's apt-get. Install what these Debian packages hold, then try again: $*"
  fi
  if [[ $(id -u) != 0 ]] && ! can_sudo; then
    stop "Run this as root, then try again: apt-get install -y $*"
  fi
  say "Installing system packages: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# Prometheus' own judge of /metrics, into build/. Its Debian package is not installed: that starts a server and brings a hundred megabytes.
fetch_promtool() {
  local folder
  if [[ -x build/promtool ]] || command -v promtool >/dev/null; then
    return
  fi
  say "Fetching promtool into build/ (19 MB)"
  folder=$(mktemp -d)
  (cd "$folder" && download_package prometheus) &&
    dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -C "$folder" ./usr/bin/promtool &&
    install -D "$folder/usr/bin/promtool" build/promtool
  local status=$?
  rm -rf "$folder"
  return $status
}

# Into the current folder; after a look for newer lists where the ones that are here do not have it, or are none.
download_package() {
  apt-get download -qq "$1" 2>/dev/null || { as_root apt-get update -qq && apt-get download -qq "$1"; }
}

can_sudo() {
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo true; }
}

install_python_packages() {
  local python
  python=$(find_python)
  if [[ -x .venv/bin/uv && $(.venv/bin/uv --version) == "uv $(locked_uv_version)"* ]]; then
    uv=.venv/bin/uv
  else
    install_uv "$python"
  fi
  [[ -x .venv/bin/python ]] || "$uv" venv --quiet --clear --no-python-downloads --python "$python" .venv
  say "Installing the locked Python packages into .venv"
  VIRTUAL_ENV=.venv "$uv" pip install --quiet --requirements requirements.lock --editable ./freehold --editable ./modal-compat --editable ./modalkit
  compile_bytecode
}

# Where PYTHONDONTWRITEBYTECODE is set, every start would otherwise compile all that it imports: seconds instead of a half.
compile_bytecode() {
  .venv/bin/python -m compileall -q -j 0 .venv/lib freehold/src modal-compat/src modalkit/src >/dev/null 2>&1 || true # some packages ship files for other Pythons
}

# The interpreter itself, not a shim that may mean another one tomorrow.
find_python() {
  local candidate
  for candidate in python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    "$candidate" -c 'import sys; assert sys.version_info >= (3, 11); print(sys.executable)' 2>/dev/null && return
  done
  stop "Python 3.11 or newer was not found. Install it (Debian 12: apt-get install python3), then try again."
}

# Into a folder of its own (--target), which needs neither python3-venv nor a say from Debian's EXTERNALLY-MANAGED marker.
install_uv() {
  "$1" -m pip --version >/dev/null 2>&1 || apt_install python3-pip
  say "Installing uv into build/uv"
  mkdir -p build
  awk '/^uv==/ { on = 1 } on { print } on && !/\\$/ { exit }' requirements.lock >build/uv.txt
  rm -rf build/uv
  PIP_ROOT_USER_ACTION=ignore "$1" -m pip install --quiet --disable-pip-version-check --require-hashes --target build/uv --requirement build/uv.txt
  uv=build/uv/bin/uv
}

locked_uv_version() {
  sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock
}

fingerprint() {
  sha256sum "${inputs[@]}"
}

say() {
  printf '%s\n' "$*" >&2
}

stop() {
  say "$@"
  exit 1
}

main "$@"
