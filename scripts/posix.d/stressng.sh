# stress-ng's file and mmap stressors. Each is a case: so many operations, what it reads checked, its exit code the result.
# shellcheck shell=bash

suite_about() { echo 'stress-ng: one file or map stressor after the other, a fixed number of operations each, verified'; }
suite_get() {
  . "$root/scripts/posix.d/fetch"
  packages stress-ng
}

smoke=(access chmod copy-file dentry fallocate flock fstat getdent hdd link mmap msync rename seek utime xattr)
more=(aio aiol bad-ioctl chattr chdir chown close dir dirdeep dirmany dnotify dup fanotify fcntl fiemap file-ioctl filename fpunch fsize
  handle inode-flags inotify io iomix lease locka lockf lockofd metamix mknod mmapfork mmapmany mmapfixed munmap open pipeherd readahead
  revio sendfile splice symlink sync-file touch tee unlink verity vm-splice)

suite_run() {
  local dir=$1 out=$2 size=$3 ops=20 all=("${smoke[@]}") name code known n done from
  [ "$size" = full ] && ops=200 all=("${smoke[@]}" "${more[@]}")
  # Not every version has every stressor.
  known=" $(stress-ng --stressors) "
  for name in "${all[@]}"; do
    [[ $known == *" $name "* ]] || { echo "$name skip this stress-ng has no such stressor" >>"$out"; continue; }
    mkdir "$dir/$name"
    code=0 n=$ops from=$SECONDS
    # One operation of these is thousands of names, maps or pages.
    case $name in mmap* | msync | munmap | *link | fallocate | dir* | filename | metamix) n=$((ops / 20)) ;; esac
    # The same random numbers in each run. Sizes: some stressors would take a gigabyte, others a share of the disk.
    timeout --kill-after=30 300 stress-ng --"$name" 1 --"$name-ops" "$n" --verify --no-rand-seed --oomable --temp-path "$dir/$name" \
      --hdd-bytes 16M --fallocate-bytes 16M --copy-file-bytes 128M --mmap-bytes 1M --mmap-file --iomix-bytes 16M --aio-requests 4 \
      --readahead-bytes 16M --seek-size 16M --sync-file-bytes 16M --sendfile-size 1M --timeout 700 --metrics-brief \
      --yaml "$POSIX_SCRATCH/yaml" >"$POSIX_SCRATCH/log" 2>&1 || code=$?
    done=$(sed -n 's/^ *bogo-ops: //p' "$POSIX_SCRATCH/yaml" 2>/dev/null || true)
    rm -f "$POSIX_SCRATCH/yaml"
    # Its exit codes: 1 bad options, 2 a stressor failed, 3 no resources, 4 not implemented here, 5 killed, 6 and 7 other failures.
    # It also exits with 0 when a stressor gave up early.
    case $code in
      0) if [ "${done:-0}" -ge "$n" ]; then echo "$name ok $done operations in $((SECONDS - from)) s"; else echo "$name fail ended after ${done:-0} of $n operations: $(said)"; fi ;;
      3) echo "$name skip no resources: $(said)" ;;
      4) echo "$name skip not implemented: $(said)" ;;
      124 | 137) echo "$name fail did not end in time" ;;
      *) echo "$name fail exit $code: $(said)" ;;
    esac >>"$out"
  done
}
said() { { grep -E 'fail|error|skipp|not implemented|invalid' "$POSIX_SCRATCH/log" || true; } | head -n 1 | sed 's/^stress-ng: *//' | tr -cd '[:print:]' | cut -c 1-200; }
