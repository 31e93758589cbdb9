# pjdfstest: what each system call may and may not do, to whom. Each of its test files is a case, once as root, who changes users in it,
# and once started as an ordinary user.
# shellcheck shell=bash

suite_about() { echo 'pjdfstest: permissions and errors of every call on names, as root and as ordinary users'; }

suite_get() {
  . "$root/scripts/posix.d/fetch"
  sources pjdfstest https://github.com/pjd/pjdfstest.git 85a8aea9e685999ef0540392fd80535f873d7ff7 || return
  packages autoconf automake build-essential git libtool openssl perl || return
  [ -x "$cache/src/pjdfstest" ] && return
  cd "$cache/src"
  made "$cache/build.log" autoreconf -ifs || return
  made "$cache/build.log" ./configure || return
  made "$cache/build.log" make pjdfstest
}

# one USER TESTS FILE: a test file as that user. It takes what it makes below the working directory; each line that says ok or not ok
# must be what the native run said, number by number. As root none may say not ok. As an ordinary user many do, natively too: the
# program cannot become somebody else then, and errors take the place of what root sees.
one() {
  local user=$1 tests=$2 file=$3 case=$4 as=() code=0 bad record=$POSIX_SHARED/${4//\//.}
  [ "$user" = root ] || as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
  timeout 300 "${as[@]}" bash "$tests/$file" >"$POSIX_SCRATCH/said" 2>&1 </dev/null || code=$?
  # Names are random, inode numbers and times are the directory's.
  { grep -E '^(not )?ok |^1\.\.' "$POSIX_SCRATCH/said" | sed -E 's/pjdfstest_[0-9a-f]+|[0-9a-f]{30,}/NAME/g; s/[0-9]{6,}/N/g' || true; } >"$record.$POSIX_IO"
  echo "exit $code" >>"$record.$POSIX_IO"
  bad=$(grep -E '^not ok ' "$record.$POSIX_IO" | grep -v '# TODO' || true)
  if grep -q '^1\.\.0' "$record.$POSIX_IO"; then
    echo "$case skip"
  elif [ $code = 124 ]; then
    echo "$case fail did not end"
  elif [ "$user" = root ] && [ -n "$bad" ]; then
    echo "$case fail $(wc -l <<<"$bad") wrong: $(head -n 3 <<<"$bad" | tr '\n' ' ')"
  elif [ "$user" = root ] && [ "$(sed -n 's/^1\.\.//p' "$record.$POSIX_IO")" != "$(grep -cE '^(not )?ok ' "$record.$POSIX_IO")" ]; then
    echo "$case fail did not run as many as it planned"
  elif ! cmp -s "$record.native" "$record.$POSIX_IO"; then
    echo "$case fail not what it is natively: $(diff "$record.native" "$record.$POSIX_IO" | grep '^[<>]' | head -n 4 | tr '\n' ' ')"
  else
    echo "$case ok $(grep -c '^ok ' "$record.$POSIX_IO")"
  fi
}

# The quick ones of each call: others sleep, or repeat thousands of assertions for every pair of owners.
smoke='^(chmod/(0[57]|1[12])|chown/0[57]|ftruncate/05|link/0[68]|mkdir/(05|10)|mkfifo/05|mknod/0[58]|open/(0[68]|22)|rename/(05|21|24)|rmdir/0[78]|symlink/05|truncate/05|unlink/(05|14)|utimensat/0[02-9])\.t$'

suite_run() {
  local dir=$1 out=$2 size=$3 own=$POSIX_SCRATCH/pjdfstest user file
  # A copy that an ordinary user can read. The tests go by the type of the filesystem here and there; both sides get the one below.
  chmod 755 "$POSIX_SCRATCH"
  mkdir "$own"
  cp -r "$cache/src/tests" "$cache/src/pjdfstest" "$own/"
  echo "fs=$(df --output=fstype -- "$POSIX_SOURCE" | tail -n 1 | tr '[:lower:]' '[:upper:]')" >>"$own/tests/conf"
  for user in root "$(job_user)"; do
    mkdir "$dir/$user"
    chown "$user" "$dir/$user"
    cd "$dir/$user"
    while read -r file; do
      one "$user" "$own/tests" "$file" "$([ "$user" = root ] || echo ordinary/)${file%.t}" >>"$out"
    done < <(cd "$own/tests" && find . -name '*.t' -printf '%P\n' | { if [ "$size" = full ]; then cat; else grep -E "$smoke"; fi; } | sort)
  done
}
