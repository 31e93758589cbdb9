# Programs that copy: tar, rsync both ways, cp, dd. What arrives must be what was there, with everything that belongs to it.
# shellcheck shell=bash
_copies_file=${BASH_SOURCE[0]}
. "$(dirname "$_copies_file")/common/cases.sh"

suite_about() { echo 'copies: tar --xattrs --acls --sparse, rsync -aXAH both ways, cp -a and --reflink, dd with O_DIRECT'; }
suite_get() { debian copies tar rsync acl attr coreutils xfsprogs; }
suite_run() { run_cases "$_copies_file" "$@"; }

# One of everything, in `t`.
everything() {
  mkdir -p t/d/e t/sticky
  head -c 300000 /dev/urandom >t/big
  head -c 100 /dev/urandom >t/d/small
  : >t/d/empty
  ln t/big t/d/linked
  ln t/d/small t/d/e/linked
  ln -s ../big t/d/symlink
  ln -s /nowhere t/dangling
  mkfifo t/pipe
  mknod t/null c 1 3
  truncate -s 6M t/hole
  printf end | dd of=t/hole bs=1 seek=3000000 conv=notrunc status=none
  chmod 4755 t/d/small
  chmod 2750 t/d/e
  chmod 1777 t/sticky
  chown 1234:4321 t/d/empty
  setfattr -n user.note -v 'a value' t/big t/d
  setfattr -n trusted.note -v root t/d/small
  setfacl -m u:1234:r,g:4321:rwx t/big
  setfacl -d -m u:1234:rx t/d
  printf x >"$(printf 't/odd \n name')"
  touch -d '2001-02-03 04:05:06.789012345' t/d/small t/hole
  touch -h -d '1999-12-31 23:59:59.5' t/d/symlink
  touch -d '1960-01-01 00:00:00' t/d/empty
  touch -d '2005-05-05' t/d/e t/d t/sticky t
}
all_facts() { # DIR
  tree_facts "$1"
  tree_sums "$1"
  (cd "$1" && getfattr -Rhd -m '^(user|trusted)[.]' . 2>/dev/null | grep -v '^$')
  (cd "$1" && getfacl -Rpn . 2>/dev/null)
  (cd "$1" && find . -links +1 -type f -printf '%i %P\n' | awk '{print $2}' | sort)
}
same_trees() { # A B
  diff <(all_facts "$1") <(all_facts "$2") >differs || wrong "$(head -n 3 differs | tr '\n' ' ')"
  same 'hard links' "$(stat -c %i "$2/big")" "$(stat -c %i "$2/d/linked")"
}
blocks() { stat -c %b "$1"; }

case_tar() {
  everything
  tar --xattrs --xattrs-include='*' --acls --sparse -cf t.tar t
  mkdir back
  tar --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -xpf t.tar -C back
  same_trees t back/t
  tar --compare -f t.tar
  [ "$(blocks back/t/hole)" -lt 1000 ] || wrong 'the hole was filled'
}
case_tar_incremental() {
  mkdir -p t && seq 9 >t/a && seq 8 >t/b
  tar -cf 0.tar --listed-incremental=snap t
  sleep 1.1
  seq 7 >t/c && rm t/a
  tar -cf 1.tar --listed-incremental=snap t
  mkdir back
  tar -xf 0.tar --listed-incremental=/dev/null -C back
  tar -xf 1.tar --listed-incremental=/dev/null -C back
  diff -r t back/t
  same 'second archive' 't/c' "$(tar -tf 1.tar | grep -v '/$')"
}
outside() { mktemp -d "${TMPDIR:-/tmp}/copies.XXXXXX"; }
case_rsync_out_and_back() {
  everything
  local out
  out=$(outside)
  rsync -aXAH --sparse t/ "$out/"
  rsync -aXAH --sparse "$out/" back/
  local code=0
  (same_trees t back) || code=$?
  same 'a second rsync' '' "$(rsync -aXAHnc --itemize-changes "$out/" back/)"
  rm -rf "$out"
  return $code
}
case_rsync_inplace_and_delete() {
  everything
  rsync -aXAH t/ u/
  printf changed | dd of=t/big bs=1 seek=150000 conv=notrunc status=none
  rm t/d/small
  rsync -aXAHc --inplace --no-whole-file --delete t/ u/
  cmp t/big u/big
  [ ! -e u/d/small ]
  same 'names left' "$(cd t && find . | sort)" "$(cd u && find . | sort)"
  rsync -a --append-verify t/big v
  head -c 1000 t/big >w && rsync -a --append-verify t/big w
  cmp t/big w
}
case_rsync_partial() {
  head -c 3000000 /dev/urandom >from
  mkdir -p to/.part
  head -c 1000000 from >to/.part/from
  rsync -a --partial-dir=.part --no-whole-file from to/
  cmp from to/from
  [ ! -e to/.part/from ]
}
case_rsync_link_dest() {
  everything
  rsync -aXAH t/ one/
  rsync -aXAH --link-dest=../one t/ two/
  same 'the same inode' "$(stat -c %i one/hole)" "$(stat -c %i two/hole)"
}
case_cp_archive() {
  everything
  cp -a t u
  same_trees t u
  cp -al t v
  same 'the same inode' "$(stat -c %i t/big)" "$(stat -c %i v/big)"
  cp -a --sparse=always t w
  cmp t/hole w/hole
  [ "$(blocks w/hole)" -lt 1000 ] || wrong 'the hole was filled'
  cp -b --suffix=.old t/d/empty u/big && [ -e u/big.old ]
  cp --update t/hole u/hole
}
case_cp_reflink_auto() {
  head -c 200000 /dev/urandom >a
  cp --reflink=auto a b
  cmp a b
  cp --reflink=never a c
  cmp a c
}
# A result is part of the name where it is the store's own: two runs that differ in it differ in their cases.
reflink_says() {
  head -c 200000 /dev/urandom >a
  local said code=0
  said=$(cp --reflink=always a b 2>&1) || code=$?
  if [ "$code" = 0 ]; then cmp a b && echo cloned; else sed 's/.*: //' <<<"$said"; fi
}
case_cp_reflink_always() {
  local said here
  said=$(reflink_says)
  case $said in cloned | 'Operation not supported' | 'Inappropriate ioctl for device') ;; *) wrong "cp --reflink=always: $said" ;; esac
  here=$(xfs_io -c 'reflink a' c -f 2>&1 || true)
  case $here in *rror* | *'Input/output'*) wrong "FICLONE: $here" ;; esac
}
case_dd() {
  head -c 1048576 /dev/urandom >in
  dd if=in of=direct bs=64k oflag=direct status=none
  cmp in direct
  dd if=direct of=read bs=64k iflag=direct status=none
  cmp in read
  dd if=in of=both bs=4k iflag=direct oflag=direct conv=fsync status=none
  cmp in both
  cp in patched
  dd if=/dev/zero of=patched bs=4k seek=3 count=2 conv=notrunc status=none
  same size 1048576 "$(stat -c %s patched)"
  same zeros 8192 "$(dd if=patched bs=4k skip=3 count=2 status=none | tr -cd '\0' | wc -c)"
  cmp -n 12288 in patched
  dd if=in of=seeked bs=4k seek=10 count=1 status=none
  same size 45056 "$(stat -c %s seeked)"
  dd if=in of=appended bs=1000 count=3 oflag=append conv=notrunc,fdatasync status=none
  dd if=in of=appended bs=1000 count=3 oflag=append conv=notrunc status=none
  same size 6000 "$(stat -c %s appended)"
  fails_with 'File exists' dd if=in of=appended conv=excl status=none
  fails_with 'No such file' dd if=in of=absent conv=nocreat status=none
  dd if=in of=sparse bs=4k conv=sparse status=none && cmp in sparse
}
case_dd_unaligned_direct() {
  head -c 1048576 /dev/urandom >in
  if dd if=in of=odd bs=1000 count=3 oflag=direct status=none 2>said; then wrong 'it worked: the store refuses it with EINVAL'; fi
  grep -q 'Invalid argument' said
}
