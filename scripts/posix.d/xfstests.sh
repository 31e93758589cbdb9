# xfstests, its generic tests, on a directory: it wants a device and a filesystem of a type, and gets a bind mount of the directory that says
# `fuse`, natively and through the mount alike, so that both run the same tests. No scratch device: what needs one is not run, here and there.
# A mount cycle in a test unmounts and binds again; it does not end the daemon.
# shellcheck shell=bash

suite_about() { echo 'xfstests: its generic quick group, as far as it needs no scratch device'; }

# Its sources, built: also where fsx and fsstress come from.
suite_sources() {
  . "$root/scripts/posix.d/fetch"
  packages acl attr autoconf automake bc build-essential e2fsprogs gawk git libacl1-dev libaio-dev libattr1-dev libcap-dev libtool \
    libtool-bin perl pkg-config quota uuid-dev uuid-runtime xfslibs-dev xfsprogs || return
  sources xfstests https://git.kernel.org/pub/scm/fs/xfs/xfstests-dev.git 63a29724a85f1999e49bf0a9bf0d22643b6116e5 || return
  [ -e "$cache/built" ] && return
  made "$cache/build.log" make -C "$cache/src" -j "$(nproc)" || return
  touch "$cache/built"
}
suite_get() { suite_sources; }

# Of several kinds: names, reads and writes, maps, times, holes, links, locks, directories.
smoke=(001 005 023 028 080 086 131 184 215 221 236 245 246 257 258 285 308 309 313)

suite_run() {
  local dir=$1 out=$2 size=$3 own=$POSIX_SCRATCH what=() code=0
  if [ "$size" = full ]; then what=(-g generic/quick); else what=("${smoke[@]/#/generic/}"); fi
  mkdir -p "$own/bin" "$own/test" "$own/results"
  stand_in "$dir" "$own/test" >"$own/bin/mount"
  chmod 755 "$own/bin/mount"
  for name in umount df findmnt; do ln -s mount "$own/bin/$name"; done
  cat >"$own/config" <<END
export FSTYP=fuse TEST_DEV=atlas-test TEST_DIR=$own/test RESULT_BASE=$own/results PATH=$own/bin:$PATH
END
  # In a mount namespace of its own: what a test leaves mounted is gone after it.
  (cd "$cache/src" && PATH=$own/bin:$PATH HOST_OPTIONS=$own/config unshare --mount --propagation private ./check "${what[@]}") || code=$?
  # It exits with 1 when a test failed; without its list of what it ran it did not get that far.
  [ "$(grep -c '^Ran: ' "$own/results/check.log")" = 1 ] || { echo "check gave up with exit code $code"; return 1; }
  cases
}
# From check's own lists to cases. `Ran` has the tests that were not run, too.
cases() {
  local test
  declare -A state=()
  for test in $(listed Ran); do state[$test]=ok; done
  for test in $(listed 'Not run'); do state[$test]="skip $(head -n 1 "$own/results/$test.notrun" || true)"; done
  for test in $(listed Failures); do
    state[$test]="fail $(diff "$cache/src/tests/$test.out" "$own/results/$test.out.bad" 2>&1 | grep '^[<>]' | head -n 3 | tr '\n' ' ' || true)"
  done
  for test in "${!state[@]}"; do echo "$test ${state[$test]}"; done | sort >>"$out"
}
listed() { sed -n "s/^$1: //p" "$own/results/check.log"; }
# mount, umount, df and findmnt, by the name it is called with, as xfstests is to see them: `atlas-test` is what TEST_DIR is mounted from.
stand_in() {
  printf '#!/usr/bin/env bash\ndir=%q test=%q\n' "$1" "$2"
  cat <<'END'
PATH=${PATH//"$(dirname "$0")":/}
named=" $* "
row() { df -T -P "$test" | awk -v at="$test" 'NR == 2 { print "atlas-test fuse", $3, $4, $5, $6, at }'; }
case ${0##*/} in
  mount) [[ $named == *' atlas-test '* ]] && exec mount --bind "$dir" "$test" ;;
  umount) [[ $named == *' atlas-test '* ]] && exec umount "$test" ;;
  findmnt)
    if [[ $named == *' atlas-test '* ]]; then
      mountpoint -q "$test" || exit 1
      case $named in *SOURCE,TARGET*) echo "atlas-test $test" ;; *) exec findmnt -rnv -M "$test" -o OPTIONS ;; esac
      exit
    fi
    ;;
  df)
    if [[ $named == *" $test"* ]] || [ "$*" = '-T -P' ]; then
      [ "$*" != '-T -P' ] || df -T -P
      if [ "$*" != '-T -P' ]; then df "$@"; elif mountpoint -q "$test"; then row; fi
      exit
    fi
    ;;
esac
exec "${0##*/}" "$@"
END
}
