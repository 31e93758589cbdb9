# SQLite: both kinds of journal, several processes that write at once, killed writers, and SQLite's own test of locking (mptest).
# shellcheck shell=bash
_sqlite_file=${BASH_SOURCE[0]}
. "$(dirname "$_sqlite_file")/common/cases.sh"
sqlite_cache=${XDG_CACHE_HOME:-$HOME/.cache}/atlas-suites/sqlite-mptest

suite_about() { echo 'sqlite: rollback and WAL journals, writers at once, kill -9 and recovery, mptest of its own sources'; }
suite_get() {
  debian sqlite sqlite3 python3 libsqlite3-dev gcc libc6-dev || return
  get_mptest || true
}
suite_run() { run_cases "$_sqlite_file" "$@"; }

# The test of locking is in SQLite's sources only, and is built against the library that Debian ships.
get_mptest() {
  [ -x "$sqlite_cache/mptest" ] && return 0
  local tmp code=0
  tmp=$(mktemp -d)
  (
    cd "$tmp"
    debian sqlite dpkg-dev
    # A list of sources of its own: what the machine's own lists name, as deb-src.
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n 's/^deb /deb-src /p' >src.list
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed 's/^Types:.*/Types: deb-src/' >src.sources
    mkdir -p parts lists/partial
    cp src.list src.sources parts/ 2>/dev/null || true
    apt=(apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$tmp/parts" -o "Dir::State::Lists=$tmp/lists")
    "${apt[@]}" update
    "${apt[@]}" source --download-only sqlite3
    mkdir s
    tar -xf sqlite3_*.orig.tar.* -C s --strip-components=1
    mkdir -p "$sqlite_cache"
    cp s/mptest/*.test s/mptest/*.subtest "$sqlite_cache/" 2>/dev/null || cp s/mptest/*test "$sqlite_cache/"
    gcc -O1 -o "$sqlite_cache/mptest" s/mptest/mptest.c -lsqlite3
  ) >/dev/null 2>&1 || code=$?
  rm -rf "$tmp"
  [ "$code" = 0 ] && [ -x "$sqlite_cache/mptest" ] && return
  echo 'sqlite: could not get mptest (Debian source package sqlite3): its cases are not run'
  return 77
}

rows() { if [ "$size" = full ]; then echo 200; else echo 25; fi; }
ask() { sqlite3 -batch -bail "$1" 'pragma busy_timeout=120000;' "$2" | tail -n +2; }

writers_at_once() { # JOURNAL
  local n p pids=()
  same journal "$1" "$(sqlite3 t.db "pragma journal_mode=$1")"
  sqlite3 t.db 'create table t(who, n, primary key (who, n)); create table sum(total); insert into sum values(0)'
  for n in 1 2 3 4; do
    python3 - "$n" "$(rows)" <<'PY' &
import sqlite3, sys
who, rows = int(sys.argv[1]), int(sys.argv[2])
db = sqlite3.connect("t.db", timeout=300, isolation_level=None)
for n in range(rows):
    db.execute("begin immediate")
    db.execute("insert into t values (?, ?)", (who, n))
    total = db.execute("select total from sum").fetchone()[0]
    db.execute("update sum set total = ?", (total + 1,))
    db.execute("commit")
PY
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  same 'rows' $((4 * $(rows))) "$(sqlite3 t.db 'select count(*) from t')"
  same 'sum' $((4 * $(rows))) "$(sqlite3 t.db 'select total from sum')"
  same 'integrity' ok "$(sqlite3 t.db 'pragma integrity_check')"
}
case_rollback_writers() { writers_at_once delete; }
case_wal_writers() { writers_at_once wal; }
case_truncate_writers() { writers_at_once truncate; }
case_persist_writers() { writers_at_once persist; }

# A reader that has begun sees one moment, whatever is written meanwhile.
case_wal_snapshot() {
  python3 - <<'PY'
import sqlite3
a = sqlite3.connect("s.db", isolation_level=None)
assert a.execute("pragma journal_mode=wal").fetchone()[0] == "wal"
a.execute("create table t(n)")
b = sqlite3.connect("s.db", isolation_level=None)
b.execute("begin")
assert b.execute("select count(*) from t").fetchone()[0] == 0
a.executemany("insert into t values (?)", [(n,) for n in range(100)])
assert b.execute("select count(*) from t").fetchone()[0] == 0, "the snapshot moved"
b.execute("commit")
assert b.execute("select count(*) from t").fetchone()[0] == 100
assert a.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
import os
assert os.path.getsize("s.db-wal") == 0
PY
}

# POSIX locks are what keeps writers apart: a second one must be told that the database is locked.
case_locked_is_said() {
  python3 - <<'PY'
import sqlite3, subprocess, sys
a = sqlite3.connect("l.db", isolation_level=None)
a.execute("create table t(n)")
a.execute("begin exclusive")
other = subprocess.run([sys.executable, "-c", """
import sqlite3
db = sqlite3.connect("l.db", timeout=0.1)
try:
    db.execute("select count(*) from t").fetchone()
except sqlite3.OperationalError as e:
    print(e)
"""], capture_output=True, text=True, check=True)
assert "database is locked" in other.stdout, other
a.execute("rollback")
PY
}

# Killed in the middle of its transactions: what was committed is there, what was not is gone.
killed_writer() { # JOURNAL
  same journal "$1" "$(sqlite3 k.db "pragma journal_mode=$1")"
  sqlite3 k.db 'create table t(n integer primary key, pad); create table done(n)'
  local n pid
  for n in 1 2 3; do
    python3 - <<'PY' &
import os, sqlite3
db = sqlite3.connect("k.db", timeout=300, isolation_level=None)
db.execute("pragma cache_size=10")
n = db.execute("select coalesce(max(n), -1) from t").fetchone()[0] + 1
while True:
    db.execute("begin")
    for _ in range(40):
        db.execute("insert into t values (?, randomblob(900))", (n,))
        n += 1
    db.execute("insert into done values (?)", (n,))
    db.execute("commit")
    open("acknowledged", "w").write(f"{n}\n")
PY
    pid=$!
    rm -f acknowledged
    until_true test -s acknowledged
    sleep 0.2
    kill -KILL "$pid"
    wait "$pid" || true
    local said kept
    said=$(cat acknowledged) kept=$(ask k.db 'select max(n) + 1 from t')
    same 'integrity' ok "$(ask k.db 'pragma integrity_check')"
    same 'whole transactions' "$kept" "$(ask k.db 'select max(n) from done')"
    [ "${said:-0}" -le "$kept" ] || wrong "transaction $said was acknowledged, and only $kept are there"
  done
}
case_rollback_killed_writer() { killed_writer delete; }
case_wal_killed_writer() { killed_writer wal; }

case_vacuum_and_backup() {
  sqlite3 v.db 'create table t(n, pad); with recursive c(i) as (select 1 union all select i+1 from c where i < 3000) insert into t select i, randomblob(200) from c; delete from t where n % 3 = 0'
  local sum
  sum=$(sqlite3 v.db 'select count(*), sum(n), sum(length(pad)) from t')
  sqlite3 v.db 'vacuum'
  sqlite3 v.db "vacuum into 'w.db'"
  sqlite3 v.db '.backup b.db'
  sqlite3 v.db .dump | sqlite3 d.db
  local db
  for db in v w b d; do
    same "$db" "$sum" "$(sqlite3 $db.db 'select count(*), sum(n), sum(length(pad)) from t')"
    same "$db integrity" ok "$(sqlite3 $db.db 'pragma integrity_check')"
  done
}

case_mapped_io() {
  sqlite3 m.db 'pragma mmap_size=268435456; create table t(n, pad); with recursive c(i) as (select 1 union all select i+1 from c where i < 5000) insert into t select i, randomblob(500) from c;' >/dev/null
  local n p pids=()
  for n in 1 2 3; do
    sqlite3 -batch m.db 'pragma mmap_size=268435456; pragma busy_timeout=120000;' "update t set pad = zeroblob(700) where n % 3 = $n - 1;" >/dev/null &
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  same 'bytes' $((5000 * 700)) "$(sqlite3 m.db 'pragma mmap_size=268435456; select sum(length(pad)) from t' | tail -n 1)"
  same 'integrity' ok "$(sqlite3 m.db 'pragma integrity_check')"
}

# SQLite's own: several processes run scripts against one database and check what each sees.
mptest() { # JOURNAL SCRIPT
  [ -x "$sqlite_cache/mptest" ] || skip 'no mptest'
  cp "$sqlite_cache"/*test .
  local said
  said=$("$sqlite_cache/mptest" m.db "$2" --journalmode "$1" --timeout 300000 2>&1) || wrong "$(tail -n 3 <<<"$said")"
  grep -q 'Summary: 0 errors' <<<"$said" || wrong "$(tail -n 3 <<<"$said")"
}
case_mptest_crash_delete() { mptest delete crash01.test; }
case_mptest_crash_wal() { mptest wal crash01.test; }
case_mptest_multiwrite_delete() { [ "$size" = full ] || skip 'only with --full'; mptest delete multiwrite01.test; }
case_mptest_multiwrite_wal() { mptest wal multiwrite01.test; }
case_mptest_config02_wal() { [ "$size" = full ] || skip 'only with --full'; mptest wal config02.test; }
