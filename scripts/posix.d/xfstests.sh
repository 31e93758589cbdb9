# xfstests, its generic tests, on a directory: it wants a device and a filesystem of a type, and gets a bind mount of the directory that says
# `fuse`, natively and through the mount alike, so that both run the same tests. No scratch device: what needs one is not run, here and there.
# A mount cycle in a test unmounts and binds again; it does not end the daemon.
# shellcheck shell=bash

suite_about() { echo 'xfstests: its generic quick group, as far as it needs no scratch device'; }

# Its sources, built: also where fsx and fsstress come from.
suite_sources() {
  . "$root/scripts/posix.d/fetch"
  sources xfstests https://git.kernel.org/pub/scm/fs/xfs/xfstests-dev.git 63a29724a85f1999e49bf0a9bf0d22643b6116e5 || return
  packages acl attr autoconf automake bc build-essential e2fsprogs gawk git libacl1-dev libaio-dev libattr1-dev libcap-dev libtool \
    libtool-bin perl pkg-config quota uuid-dev uuid-runtime xfslibs-dev xfsprogs || return
  [ -e "$cache/built" ] && return
  made "$cache/build.log" make -C "$cache/src" -j "$(nproc)" || return
  touch "$cache/built"
}
suite_get() { suite_sources; }

# Of several kinds: names, reads and writes, maps, times, holes, links, locks, directories.
smoke=(001 005 023 028 080 086 131 184 215 221 236 245 246 257 258 285 308 309 313)

# What is not for a machine with others on it: 213 asks for more than the disk has, which takes all of it for a moment.
never=(213)

suite_run() {
  local dir=$1 out=$2 size=$3 own=$POSIX_SCRATCH what=() code=0 name seconds=180
  # Natively a test has a minute. What needs longer there (fillers of disks, soak tests), or is not for this machine, is not run through the
  # mount, where a test has three.
  [ "$POSIX_IO" = native ] && seconds=60
  if [ "$size" = full ]; then what=(-g generic/quick); else what=("${smoke[@]/#/generic/}"); fi
  mkdir -p "$own/bin" "$own/test" "$own/results"
  [ -s "$POSIX_SHARED/skipped" ] || printf 'generic/%s\n' "${never[@]}" >"$POSIX_SHARED/skipped"
  stand_in "$dir" "$own/test" "$seconds" >"$own/bin/mount"
  chmod 755 "$own/bin/mount"
  for name in umount df findmnt systemd-run systemctl; do ln -s mount "$own/bin/$name"; done
  users "$own"
  cat >"$own/config" <<END
export FSTYP=fuse TEST_DEV=atlas-test TEST_DIR=$own/test RESULT_BASE=$own/results PATH=$own/bin:$PATH
END
  # In a mount namespace of its own: what a test leaves mounted is gone after it.
  # shellcheck disable=SC2016
  (cd "$cache/src" && PATH=$own/bin:$PATH HOST_OPTIONS=$own/config unshare --mount --propagation private bash -euc \
    'mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/group" /etc/group; exec ./check "$@"' "$own" \
    -E "$POSIX_SHARED/skipped" "${what[@]}") || code=$?
  # It exits with 1 when a test failed; without its list of what it ran it did not get that far.
  [ "$(grep -c '^Ran: ' "$own/results/check.log")" = 1 ] || { echo "check gave up with exit code $code"; return 1; }
  cases
}
# The accounts that some tests need: only there, not on this machine. No password, and none is asked for.
users() {
  local id=990001 name
  cp /etc/passwd /etc/group "$1/"
  for name in fsgqa fsgqa2 123456-fsgqa; do
    echo "$name:*:$id:$id::/:/bin/bash" >>"$1/passwd"
    echo "$name:x:$id:" >>"$1/group"
    id=$((id + 1))
  done
}
# From check's own lists to cases. `Ran` has the tests that were not run, too.
cases() {
  local test
  declare -A state=()
  for test in $(listed Ran); do state[$test]=ok; done
  for test in $(listed 'Not run'); do state[$test]="skip $(head -n 1 "$own/results/$test.notrun" || true)"; done
  for test in $(listed Failures); do
    state[$test]="fail $(diff "$cache/src/tests/$test.out" "$own/results/$test.out.bad" 2>&1 | grep '^[<>]' | head -n 3 | tr '\n' ' ' || true)"
    [ ! -e "$own/late/${test//\//-}" ] || state[$test]="fail did not end in $seconds s"
    if [ "$POSIX_IO" = native ] && [[ ${state[$test]} == *'did not end in'* ]]; then state[$test]="skip takes more than $seconds s"; fi
  done
  for test in "${!state[@]}"; do echo "$test ${state[$test]}"; done | sort >>"$out"
  [ "$POSIX_IO" != native ] || awk '$2 == "skip" { print $1 }' "$out" >>"$POSIX_SHARED/skipped"
}
listed() { sed -n "s/^$1: //p" "$own/results/check.log"; }
# mount, umount, df and findmnt, by the name it is called with, as xfstests is to see them: `atlas-test` is what TEST_DIR is mounted from.
# And systemd-run, in which it runs each test when it can: here with a deadline. The test's name is the last word of its command.
stand_in() {
  printf '#!/usr/bin/env bash\ndir=%q test=%q seconds=%q own=%q\n' "$1" "$2" "$3" "$POSIX_SCRATCH"
  cat <<'END'
PATH=${PATH//"$(dirname "$0")":/}
named=" $* "
row() { df -T -P "$test" | awk -v at="$test" 'NR == 2 { print "atlas-test fuse", $3, $4, $5, $6, at }'; }
case ${0##*/} in
  systemctl) exit ;;
  systemd-run)
    while [ "$1" != --scope ]; do shift; done
    shift
    # An orphan, as one that systemd started: a run of its own, not one of thousands of processes with all other tests.
    rm -f "$own/code"
    ({
      code=0
      PATH=$own/bin:$PATH setsid timeout --kill-after=10 "$seconds" "$@" || code=$?
      # On a full disk it is told once there is room again.
      until echo $code >"$own/code.new" && mv "$own/code.new" "$own/code"; do sleep 1; done
    } &)
    until [ -s "$own/code" ]; do sleep 0.05; done
    code=$(cat "$own/code")
    if [ "$code" = 124 ] || [ "$code" = 137 ]; then mkdir -p "$own/late" && touch "$own/late/$(sed 's|.*/\(.*\)/|\1-|' <<<"${!#}")"; fi
    exit "$code"
    ;;
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
