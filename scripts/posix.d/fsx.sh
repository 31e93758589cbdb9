# fsx: random reads, writes, maps, truncations, holes and copies of one file, each read checked. Two programs: the one of xfstests when it
# can be had (it knows O_DIRECT, clones and fallocate's modes), the one on crates.io always.
# shellcheck shell=bash

suite_about() { echo 'fsx: random operations on one file against a copy in memory, with maps, holes, O_DIRECT, copy_file_range'; }

suite_get() {
  . "$root/scripts/posix.d/fetch"
  if [ ! -x "$cache/bin/fsx" ]; then
    cargo install fsx --version 0.3.2 --locked --quiet --root "$cache" >"$cache/build.log" 2>&1 \
      || { echo "fsx 0.3.2 could not be installed from crates.io"; return 77; }
  fi
  # The second one is a bonus: without it the first still runs.
  cache=$tools/suites/xfstests bash -euo pipefail -c '. "$1/scripts/lib.sh"; . "$1/scripts/posix.d/xfstests.sh"; suite_sources' fsx "$root" || true
}

# How fsx is to behave: name, then its configuration. opsize.align is O_DIRECT's in no case: this program has none.
crate_config() {
  case $1 in
    plain) echo 'flen = 262144' ;;
    maps) printf '[weights]\nmapread = 10\nmapwrite = 10\ninvalidate = 1\nclose_open = 1\n' ;;
    # In many operations this program asks for an allocation of no bytes sooner or later, and takes EINVAL for a failure.
    holes) printf '[weights]\npunch_hole = 5\nposix_fallocate = %s\nclose_open = 1\nmapwrite = 5\n' "$([ "$size" = full ] && echo 0 || echo 5)" ;;
    copies) printf '[weights]\ncopy_file_range = 10\nsendfile = 5\nclose_open = 1\nfsync = 1\nfdatasync = 1\nposix_fadvise = 1\n' ;;
  esac
}

suite_run() {
  local dir=$1 out=$2 size=$3 ops=1500 seeds='1 2' kind seed options
  # Full: 4 kinds and 6 option sets, 4 seeds each, 25,000 operations a run: 1,000,000 in all.
  [ "$size" = full ] && ops=25000 seeds='1 2 3 4'
  local own=$POSIX_SCRATCH code
  for kind in plain maps holes copies; do
    crate_config $kind >"$own/$kind.toml"
    for seed in $seeds; do
      code=0
      "$cache/bin/fsx" -f "$own/$kind.toml" -N "$ops" -S "$seed" -P "$own" "$dir/$kind.$seed" >"$own/log" 2>&1 || code=$?
      result "crate.$kind.$seed" $code
    done
  done
  local other=$tools/suites/xfstests/src/ltp/fsx
  [ -x "$other" ] || { echo "xfstests skip not built here" >>"$out"; return; }
  # -r and -w align offsets, -Z is O_DIRECT, -A and -U are other kinds of I/O; without -q every operation would be told.
  while read -r kind options; do
    for seed in $seeds; do
      code=0
      # shellcheck disable=SC2086
      "$other" -q -N "$ops" -S "$seed" -P "$own" $options "$dir/x$kind.$seed" >"$own/log" 2>&1 || code=$?
      result "xfstests.$kind.$seed" $code
    done
  done <<'END'
plain -c 100
small -l 5000 -o 700 -c 20
large -l 2000000 -o 262144 -c 100
direct -Z -r 4096 -w 4096 -t 4096
directmaps -Z -r 4096 -w 4096 -t 4096 -R -c 50
keep -K -F -H -z -c 50
END
}
result() {
  if [ "$2" = 0 ]; then echo "$1 ok" >>"$out"; else echo "$1 fail exit $2: $(grep -vE '^(LOG|[0-9]+[:(])' "$own/log" | tail -n 2 | tr '\n' ' ')" >>"$out"; fi
}
