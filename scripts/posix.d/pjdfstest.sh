# pjdfstest: what each system call may and may not do, to whom. Each of its test files is a case; it changes users by itself.
# shellcheck shell=bash

suite_about() { echo 'pjdfstest: permissions and errors of every call on names, as root and as ordinary users'; }

suite_get() {
  . "$root/scripts/posix.d/fetch"
  packages autoconf automake build-essential git libtool openssl perl || return
  sources pjdfstest https://github.com/pjd/pjdfstest.git 85a8aea9e685999ef0540392fd80535f873d7ff7 || return
  [ -x "$cache/src/pjdfstest" ] && return
  cd "$cache/src"
  made "$cache/build.log" autoreconf -ifs || return
  made "$cache/build.log" ./configure || return
  made "$cache/build.log" make pjdfstest
}

# A test file takes what it makes below the working directory, and everything that it says begins with ok or not ok.
one() {
  local file=$1 case=$2 said total bad
  said=$(timeout 300 bash "$file" 2>&1) || true
  total=$(grep -cE '^(not )?ok ' <<<"$said" || true)
  bad=$(grep -E '^not ok ' <<<"$said" | grep -vc '# TODO' || true)
  if [[ $said == 1..0* ]]; then
    echo "$case skip"
  elif [ "$bad" != 0 ]; then
    echo "$case fail $bad of $total: $(grep -E '^not ok ' <<<"$said" | head -n 3 | tr '\n' ' ')"
  elif [ "$(sed -n 's/^1\.\.//p' <<<"$said")" != "$total" ]; then
    echo "$case fail planned $(sed -n 's/^1\.\.//p' <<<"$said"), ran $total"
  else
    echo "$case ok $total"
  fi
}

suite_run() {
  local dir=$1 out=$2 size=$3 file only='.'
  [ "$size" = full ] || only='/(chmod/0[07]|rename/(00|09|21)|unlink/(00|14)|open/(00|06|22)|link/00|mkdir/00|mknod/11|ftruncate/00|utimensat/0[0-9]|symlink/00)'
  cd "$dir"
  while read -r file; do
    one "$file" "$(sed "s|^$cache/src/tests/||; s|\.t$||" <<<"$file")" >>"$out"
  done < <(find "$cache/src/tests" -name '*.t' | grep -E "$only" | sort)
}
