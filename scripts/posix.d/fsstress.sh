# fsstress of xfstests: random calls on a tree by several processes. The same seed must leave the same tree as on the bare store.
# shellcheck shell=bash

suite_about() { echo 'fsstress: random calls on a tree by several processes, leaving the same tree as natively'; }

suite_get() {
  cache=$tools/suites/xfstests bash -euo pipefail -c '. "$1/scripts/lib.sh"; . "$1/scripts/posix.d/xfstests.sh"; suite_sources' fsstress "$root"
}

# What no FUSE filesystem can be asked (ioctls, clones, collapse and insert, whiteouts) would fail here and not natively: later calls
# with the same seed would meet another tree. The errors themselves are looked at by other suites.
never=(bulkstat bulkstat1 clonerange deduperange exchangerange resvsp unresvsp rwhiteout setxattr snapshot subvol_create subvol_delete
  collapse insert unshare sync uring_read uring_write read_dontcache write_dontcache)

suite_run() {
  local dir=$1 out=$2 size=$3 ops=300 seeds='1 2' seed code options=() op
  [ "$size" = full ] && ops=5000 seeds='1 2 3 4'
  for op in "${never[@]}"; do options+=(-f "$op=0"); done
  for seed in $seeds; do
    mkdir "$dir/$seed"
    code=0
    "$tools/suites/xfstests/src/ltp/fsstress" -d "$dir/$seed" -n "$ops" -p 4 -s "$seed" "${options[@]}" \
      >"$POSIX_SCRATCH/log" 2>&1 || code=$?
    if [ $code = 0 ]; then echo "run.$seed ok" >>"$out"; else echo "run.$seed fail exit $code: $(tail -n 1 "$POSIX_SCRATCH/log")" >>"$out"; fi
    listing "$dir/$seed" >"$POSIX_SHARED/$seed.$POSIX_IO"
    if cmp -s "$POSIX_SHARED/$seed.native" "$POSIX_SHARED/$seed.$POSIX_IO"; then
      echo "tree.$seed ok $(wc -l <"$POSIX_SHARED/$seed.$POSIX_IO") names" >>"$out"
    else
      echo "tree.$seed fail $(diff "$POSIX_SHARED/$seed.native" "$POSIX_SHARED/$seed.$POSIX_IO" | head -n 3 | tr '\n' ' ' | cut -c 1-300)" >>"$out"
    fi
  done
}
# Names with kind, mode, owner, links, size, target; contents; extended attributes.
listing() (
  cd "$1"
  find . -mindepth 1 \( -type d -printf '%y %m %U %G %p\n' -o -printf '%y %m %U %G %n %s %p %l\n' \) | sort
  find . -type f -print0 | sort -z | xargs -0r sha256sum
  find . \( -type f -o -type d \) -print0 | sort -z | xargs -0r getfattr --absolute-names -h -d -m - -e hex 2>/dev/null
)
