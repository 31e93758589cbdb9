# PostgreSQL with its data directory there: load, kill -9 of the whole cluster, recovery, and its own checks of what is left.
# shellcheck shell=bash
_postgresql_file=${BASH_SOURCE[0]}
. "$(dirname "$_postgresql_file")/common/cases.sh"

suite_about() { echo 'postgresql: initdb --data-checksums, pgbench with 4 clients, kill -9 and recovery, amcheck, pg_checksums, dump and restore'; }
suite_get() {
  debian postgresql postgresql postgresql-contrib util-linux
  id -u postgres >/dev/null 2>&1 || { echo 'postgresql: there is no user postgres' && return 77; }
}
suite_run() { run_cases "$_postgresql_file" "$@"; }

transactions() { if [ "$size" = full ]; then echo 2000; else echo 100; fi; }

# Its own user, its own session; the socket lies in the data directory's parent, and no port is opened.
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups -- env -C "$work" HOME="$work" PGHOST="$work" PGPORT=5999 LC_ALL=C PATH="$bin:/usr/bin:/bin" "$@"; }
prepare() {
  bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
  chown postgres: "$work"
  as_postgres test -w . || skip 'the user postgres cannot reach this directory'
  trap kill_cluster EXIT
}
start() { as_postgres pg_ctl -D data -s -w -t 300 -l log -o "-k $work -h '' -p 5999 -c shared_buffers=16MB -c full_page_writes=on -c checkpoint_timeout=30s -c max_wal_size=64MB" start || wrong "$(tail -n 2 log)"; }
stop() { as_postgres pg_ctl -D data -s -w -t 300 -m fast stop; }
# The postmaster that this case has started, and its children; nobody else.
kill_cluster() {
  local pm children
  pm=$(head -n 1 data/postmaster.pid 2>/dev/null) || return 0
  [ -n "$pm" ] && [ "$(cat "/proc/$pm/comm" 2>/dev/null)" = postgres ] || return 0
  kill -STOP "$pm"
  # Processes come and go while they are listed.
  children=$({ cat /proc/[0-9]*/status 2>/dev/null || true; } | awk -v pm="$pm" '$1 == "Pid:" {p = $2} $1 == "PPid:" && $2 == pm {print p}')
  # shellcheck disable=SC2086
  kill -KILL $pm $children 2>/dev/null || true
  # The next one starts only when nobody answers to these ids any more.
  local p
  for p in $pm $children; do until_true gone "$p"; done
}
gone() { ! kill -0 "$1"; }
sql() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d "${db:-bench}" -c "$1"; }
# TPC-B keeps four sums equal (with -n: else each run of pgbench empties the history first).
consistent() {
  same 'sums' t "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches) and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers) and (select sum(tbalance) from pgbench_tellers) = (select coalesce(sum(delta), 0) from pgbench_history)')"
}

case_load_kill_and_recover() {
  prepare
  as_postgres initdb -D data --data-checksums -A trust -N >/dev/null
  start
  as_postgres createdb bench
  as_postgres pgbench -q -i -s 1 bench 2>/dev/null
  as_postgres pgbench -n -c 4 -j 2 -t "$(transactions)" bench >bench.out 2>&1 || wrong "$(tail -n 1 bench.out)"
  consistent
  same 'history' $((4 * $(transactions))) "$(sql 'select count(*) from pgbench_history')"
  local n before
  for n in 1 2; do
    before=$(sql 'select count(*) from pgbench_history')
    as_postgres pgbench -n -c 4 -j 2 -T 600 bench >killed.out 2>&1 &
    local load=$!
    until_true more_than "$before"
    kill_cluster
    wait "$load" || true
    start
    grep -q 'redo done\|redo is not required\|automatic recovery' log || wrong 'no recovery was made'
    consistent
    [ "$(sql 'select count(*) from pgbench_history')" -gt "$before" ] || wrong 'acknowledged transactions are gone'
  done
  sql 'create extension amcheck'
  same 'amcheck' '' "$(as_postgres pg_amcheck --heapallindexed -d bench 2>&1)"
  as_postgres pg_dump -Fc -f bench.dump bench
  as_postgres createdb copy
  as_postgres pg_restore -d copy bench.dump
  local q='select md5(string_agg(t::text, chr(10) order by aid)) from pgbench_accounts t'
  same 'restored' "$(sql "$q")" "$(db=copy sql "$q")"
  sql 'vacuum full pgbench_accounts'
  sql 'reindex database bench'
  consistent
  as_postgres pg_basebackup -D backup -X stream -c fast
  as_postgres pg_verifybackup backup >/dev/null
  stop
  as_postgres pg_checksums --check -D data >/dev/null
  as_postgres pg_controldata data | grep -q 'shut down'
}
more_than() { [ "$(sql 'select count(*) from pgbench_history')" -gt $(($1 + 40)) ]; }
