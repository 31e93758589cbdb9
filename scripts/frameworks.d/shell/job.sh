#!/bin/bash
# A pipeline of sort, awk and gzip; tee, process substitution, a loop, a sort that spills to disk.
# usage: job.sh prepare | count | join | split
set -euo pipefail

prepare() {
  mkdir raw
  seq 1 4000 | awk '{ print ($1 * 7919) % 1000, "user" $1 % 37 }' >raw/visits.txt
  seq 0 36 | awk '{ print "user" $1, "group" $1 % 4 }' | sort >raw/groups.txt
  echo 'nobody reads this' >raw/unused.txt
}

count() {
  sort -n raw/visits.txt | awk '{ n[$2]++ } END { for (u in n) print u, n[u] }' | sort | gzip -n >counts.gz
}

join_them() {
  join <(zcat counts.gz) <(sort raw/groups.txt) | tee joined.txt | awk '{ n[$3] += $2 } END { for (g in n) print g, n[g] }' | sort >sums.txt
}

split_them() {
  mkdir parts
  # Little memory: sort spills to a directory on the mount, and removes what it made there.
  mkdir spill
  sort -S 8k -T spill raw/visits.txt >sorted.txt
  rmdir spill
  for group in 0 1 2 3; do
    grep -w "group$group" joined.txt >"parts/$group.txt"
  done
  cat parts/[0-3].txt >whole.txt
}

case $1 in
  prepare) prepare ;;
  count) count ;;
  join) join_them ;;
  split) split_them ;;
esac
