# LTP: its tests of system calls on files, and its filesystem tests, each with TMPDIR in the directory under test. A test is a case, by its
# name in LTP's own lists; what it says line by line must be what it says natively, too. Left out is what makes a device or a filesystem of
# its own: that would not be the one under test.
# shellcheck shell=bash

suite_about() { echo 'LTP: its tests of system calls on files, and its filesystem tests'; }

calls=(access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 execve execveat faccessat faccessat2 fadvise fallocate
  fanotify fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr file_attr flistxattr flock fpathconf fremovexattr
  fsetxattr fstat fstatat fstatfs fsync ftruncate futimesat getcwd getdents getxattr inotify io_submit io_uring lchown lgetxattr link linkat
  listxattr llistxattr llseek lremovexattr lseek lstat madvise mincore mkdir mkdirat mknod mknodat mmap mprotect mremap msync munmap
  name_to_handle_at nftw open open_by_handle_at openat openat2 pathconf pread preadv preadv2 pwrite pwritev pwritev2 read readahead readdir
  readlink readlinkat readv realpath remap_file_pages removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statvfs
  statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev)
trees=(acl doio fs_di fs_inod fs_perms fsx-linux ftest inode lftest linktest openfile racer stream)

suite_get() {
  . "$root/scripts/posix.d/fetch"
  local at=695827725f4fc14fe583043127e0335c29bbd52d part parts=()
  sources ltp https://github.com/linux-test-project/ltp.git $at || return
  packages acl attr autoconf automake bc build-essential git libacl1-dev libaio-dev libattr1-dev libcap-dev libtool m4 pkg-config || return
  [ "$(cat "$cache/built" 2>/dev/null)" != "$at ${calls[*]} ${trees[*]}" ] || return 0
  cd "$cache/src"
  rm -rf "$cache/build.log" "$cache/root"
  made "$cache/build.log" make autotools || return
  made "$cache/build.log" ./configure --prefix="$cache/root" || return
  for part in "${calls[@]}"; do parts+=("testcases/kernel/syscalls/$part"); done
  for part in "${trees[@]}"; do parts+=("testcases/kernel/fs/$part"); done
  for part in testcases/lib "${parts[@]}"; do
    # Alone, each of them builds the libraries that it needs.
    made "$cache/build.log" make -C "$part" -j "$(nproc)" || return
    made "$cache/build.log" make -C "$part" install || return
  done
  echo "$at ${calls[*]} ${trees[*]}" >"$cache/built"
}

# LTP's own lists, without what was not built, what makes a device, a filesystem or a control group for itself, and the calls with 16 bits for
# an owner, which this machine has not. The filesystem tests say how long they go on: not so long here.
chosen() {
  local lists=$cache/src/runtest name command program own
  own=" $(grep -rlE 'needs_device|all_filesystems|mount_device|format_device|tst_acquire_device|needs_cgroup|needs_hugetlb' \
    --include='*.c' "$cache/src/testcases/kernel"/{syscalls,fs} | sed 's|.*/||; s|\.c$||' | tr '\n' ' ')"
  while read -r name command; do
    program=${command#mkfifo *; } program=${program#export LTPROOT; } program=${program%% *}
    [ -x "$cache/root/testcases/bin/$program" ] && [[ $own != *" $program "* && $name != *_16 ]] && echo "$name $command"
  done < <(sed -E "/^[a-z0-9]/!d; s/-L [0-9]+/-L $ltp_growing/; s/-i [0-9]+s/-i ${ltp_growing}s/" "$lists/syscalls" "$lists/fs" | sort -u -k 1,1)
  return 0
}
# Of each kind of call some that take no time.
smoke='^(chmod01|chown0[1-3]|copy_file_range01|creat0[1-4]|fallocate0[1-3]|fchmod0[1-6]|fcntl(0[1-9]|1[134])|flock0[1-4]|ftruncate0[13]|getdents0[12]|link0[2-8]|llseek0[1-3]|lseek0[127]|mkdir0[2-5]|mmap0[1-9]|open(0[1-3]|0[6-9])|openat0[12]|pread0[12]|preadv0[12]|pwrite0[1-4]|pwritev0[12]|readlink0[13]|readv0[12]|rename(01|0[3-9])|rmdir0[1-3]|sendfile0[2-8]|splice0[1-6]|stat0[1-3]|statx0[1-3]|symlink0[1-4]|truncate0[23]|unlink(05|07|08)|utimensat01|write0[1-5]|writev0[1-7]|ftest0[26]|stream0[1-5]) '

# A test makes its own directory in TMPDIR and works there, in a mount namespace that ends with it. What it says where (file and line, passed
# or not) is kept and compared.
one() { # NAME COMMAND DIR
  local name=$1 command=$2 dir=$3 code=0 said=$POSIX_SCRATCH/said record=$POSIX_SHARED/$1 other word
  mkdir -m 777 "$dir/$name"
  TMPDIR=$dir/$name timeout --kill-after=10 "$ltp_seconds" unshare --mount --propagation private bash -c "$command" \
    >"$said" 2>&1 </dev/null || code=$?
  rm -rf --one-file-system "${dir:?}/$name"
  {
    grep -aoE '^[A-Za-z0-9_.-]+:[0-9]+: T[A-Z]+|^[A-Za-z0-9_]+ +[0-9]+ +T(PASS|FAIL|BROK|CONF|WARN)' "$said" | grep -v TINFO | sort -u || true
    echo "exit $code"
  } >"$record.$POSIX_IO"
  # Its exit code: 1 failed, 2 broken, 4 warned, 32 some of it is not for this system.
  case $code in
    0) word=ok ;;
    32 | 36) word=skip ;;
    *) word=fail ;;
  esac
  other=$(diff "$record.native" "$record.$POSIX_IO" | grep '^[<>]' | tr '\n' ' ' || true)
  if [ $code = 124 ] || [ $code = 137 ]; then
    echo "$name fail did not end in $ltp_seconds s"
  elif [ -z "$other" ] || { [ $word = skip ] && ! [[ $other =~ \>[^\>]*T(FAIL|BROK|WARN) ]]; }; then
    echo "$name $word $(told "$said")"
  else
    echo "$name fail not what it says natively: $other: $(told "$said")"
  fi
  # What fails on the bare directory fails in the same places here.
  if grep -qE '^exit ([^03]|3[^26])' "$record.native"; then
    echo "$name.same $(if [ -z "$other" ]; then echo ok; else echo "fail $other"; fi)"
  fi
}
told() { { grep -aE 'TFAIL|TBROK|TCONF|TWARN' "$1" || true; } | head -n 1 | tr -cd '[:print:]' | cut -c 1-160; }

suite_run() {
  local dir=$1 out=$2 size=$3 name command ltp_seconds=60 ltp_growing=1
  [ "$size" = full ] && ltp_seconds=180 ltp_growing=5
  # Its own deadlines, of a second and more, are ten times as long here: what is slow on the mount is no other result. Ours is $ltp_seconds.
  export LTPROOT=$cache/root PATH=$cache/root/testcases/bin:$PATH LTP_COLORIZE_OUTPUT=n KCONFIG_SKIP_CHECK=1 LTP_TIMEOUT_MUL=10
  # As many descriptors as a job has after a login. With as many as the daemon has, one that opens until nothing is left would learn which of
  # the two has none left (ENFILE inline: fs/SEMANTICS.md, 8).
  ulimit -Sn 1024
  cd "$dir"
  chosen | { if [ "$size" = full ]; then cat; else grep -E "$smoke"; fi; } >"$POSIX_SCRATCH/chosen"
  while read -r name command; do
    one "$name" "$command" "$dir" >>"$out"
  done <"$POSIX_SCRATCH/chosen"
}
