# git as people use it: clone, commit, rebase, gc, fsck, worktrees, locks. What it keeps must be whole, and the same wherever it lies.
# shellcheck shell=bash
_git_file=${BASH_SOURCE[0]}
. "$(dirname "$_git_file")/common/cases.sh"

suite_about() { echo 'git: clone, commit, rebase, gc --aggressive, fsck --full --strict, worktrees, stash, lock contention'; }
suite_get() { debian git git; }
suite_run() { run_cases "$_git_file" "$@"; }

# No configuration of whoever runs this, and dates that do not change, so that a commit has the same id on every filesystem.
g() {
  env HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' \
    GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' GIT_EDITOR=true \
    git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c safe.directory='*' -c gc.auto=0 -c advice.detachedHead=false "$@"
}
commits() { if [ "$size" = full ]; then echo 150; else echo 25; fi; }

# A bare repository of some thousand objects, and a checkout of it.
case_clone() {
  local n i
  g init -q --bare origin.git
  g clone -q origin.git a 2>/dev/null
  cd a
  for n in $(seq "$(commits)"); do
    mkdir -p "d$((n % 7))/e$((n % 3))"
    for i in $(seq 12); do seq "$n" $((n + i * 9)) >"d$((n % 7))/e$((n % 3))/f$n.$i"; done
    seq "$n" >changed
    chmod $((n % 2 ? 755 : 644)) changed
    ln -sfn "d$((n % 7))" link
    g add -A
    g commit -qm "commit $n"
  done
  g push -q origin HEAD
  cd ..
  g clone -q --no-local origin.git b
  g clone -q origin.git c
  same 'heads' "$(g -C a rev-parse HEAD)" "$(g -C b rev-parse HEAD)"
  same 'status' '' "$(g -C b status --porcelain)"
  diff -r --no-dereference --exclude=.git a b
  diff -r --no-dereference --exclude=.git a c
  # The same objects everywhere: a commit's id says so.
  mkdir ../expected.d && cd ../expected.d && g -C ../clone/b log --format=%H | wc -l | grep -qx "$(commits)"
}

case_fsck() {
  local r
  for r in ../clone/origin.git ../clone/a ../clone/b ../clone/c; do
    g -C "$r" fsck --full --strict --no-dangling
  done
}

case_branch_and_rebase() {
  local n
  g clone -q ../clone/origin.git r
  cd r
  g checkout -q -b topic HEAD~9
  for n in 1 2 3 4 5; do
    echo "$n" >>topic.txt
    g add topic.txt
    g commit -qm "topic $n"
  done
  g rebase -q main
  same 'commits of the topic' 5 "$(g rev-list --count main..topic)"
  # -i with a script as the editor: the last two become one.
  GIT_SEQUENCE_EDITOR="sed -i -e '2s/^pick/fixup/'" g -c sequence.editor="sed -i -e '2s/^pick/fixup/'" rebase -q -i HEAD~2
  same 'after the fixup' 4 "$(g rev-list --count main..topic)"
  g checkout -q main
  g merge -q --no-ff -m merged topic
  same 'the file' '1 2 3 4 5' "$(paste -sd' ' topic.txt)"
  g tag -a v1 -m one
  g cherry-pick --allow-empty --keep-redundant-commits HEAD^2 >/dev/null 2>&1 || g cherry-pick --skip
  g reset -q --hard v1
  g clean -qfdx
  same 'status' '' "$(g status --porcelain)"
  g fsck --full --strict --no-dangling
}

case_conflict_and_abort() {
  g init -q x
  cd x
  echo base >f && g add f && g commit -qm base
  g checkout -qb other && echo other >f && g commit -qam other
  g checkout -q main && echo main >f && g commit -qam main
  if g merge -q other >/dev/null 2>&1; then wrong 'this merge must conflict'; fi
  same 'conflict' 'UU f' "$(g status --porcelain)"
  g merge --abort
  same 'after the abort' main "$(cat f)"
  if g rebase other >/dev/null 2>&1; then wrong 'this rebase must conflict'; fi
  g rebase --abort
  same 'status' '' "$(g status --porcelain)"
}

case_stash() {
  g clone -q ../clone/origin.git s
  cd s
  echo more >>changed
  echo new >untracked
  mv d1 moved
  g stash push -q -u
  same 'status' '' "$(g status --porcelain)"
  [ ! -e untracked ] && [ -d d1 ]
  g stash pop -q
  same 'untracked' new "$(cat untracked)"
  same 'last line' more "$(tail -n 1 changed)"
  [ -d moved ] && [ ! -e d1 ]
}

case_worktree() {
  cd ../clone/b
  g worktree add -q ../w -b side
  cd ../w
  echo side >side.txt && g add side.txt && g commit -qm side
  g -C ../b cat-file -e side:side.txt
  g -C ../b worktree remove --force ../w
  [ ! -e ../w ]
  same 'worktrees' 1 "$(g -C ../b worktree list | wc -l)"
}

case_gc_aggressive() {
  cd ../clone/origin.git
  local before after
  before=$(g cat-file --batch-all-objects --batch-check | sort | sha256sum)
  g gc -q --aggressive --prune=now
  after=$(g cat-file --batch-all-objects --batch-check | sort | sha256sum)
  same 'objects' "$before" "$after"
  same 'loose objects' 0 "$(g count-objects -v | sed -n 's/^count: //p')"
  g repack -q -a -d -f --write-bitmap-index
  g commit-graph write --reachable
  g commit-graph verify
  g verify-pack objects/pack/*.idx
  g multi-pack-index write && g multi-pack-index verify
  g fsck --full --strict
}

case_packed_refs() {
  cp -a ../clone/origin.git p.git
  cd p.git
  local n
  for n in $(seq 60); do echo "create refs/heads/b$n $(g rev-parse main)"; done | g update-ref --stdin
  g pack-refs --all
  same 'refs' 61 "$(grep -c refs/heads/ packed-refs)"
  g branch -q -D b1 b2 b3
  same 'refs after' 58 "$(g for-each-ref refs/heads | wc -l)"
  [ ! -e packed-refs.lock ]
  g fsck --full --strict
}

# A lock that is there: git must refuse. One that everybody wants: one at a time, and every commit arrives.
case_index_lock() {
  g init -q l
  cd l
  echo a >a && g add a && g commit -qm a
  : >.git/index.lock
  echo b >b
  fails_with 'index.lock' g add b
  rm .git/index.lock
  local n pids=() p
  for n in 1 2 3 4; do
    (
      for i in 1 2 3; do
        until g commit -q --allow-empty -m "by $n, number $i" 2>/dev/null; do sleep 0.05; done
      done
    ) &
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  same 'commits' 13 "$(g rev-list --count HEAD)"
  [ ! -e .git/index.lock ] && [ ! -e .git/HEAD.lock ]
  g fsck --full --strict
}

# Cloned before anybody pushes: a clone by links beside a push fails at times on any filesystem (2 of 619 on a bare ext4), because git compares
# a growing object with itself ("hardlink different from source").
case_push_and_fetch_at_once() {
  g init -q --bare o.git
  g clone -q o.git first 2>/dev/null
  (cd first && echo 0 >f && g add f && g commit -qm 0 && g push -q origin HEAD)
  local n pids=() p
  for n in 1 2 3 4; do g clone -q o.git "k$n"; done
  for n in 1 2 3 4; do
    (cd "k$n" && g checkout -qb "k$n" && seq "$n" 400 >"k$n" && g add . && g commit -qm "k$n" && g push -q origin HEAD) &
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  g -C first fetch -q
  same 'branches' 5 "$(g -C first branch -r | wc -l)"
  g -C o.git fsck --full --strict
}

case_bundle_archive_and_apply() {
  cd ../clone
  g -C b bundle create -q ../../bundle_archive_and_apply/all.bundle --all
  cd ../bundle_archive_and_apply
  g bundle verify -q all.bundle 2>/dev/null || g -C ../clone/b bundle verify -q "$PWD/all.bundle"
  g clone -q -b main all.bundle from
  same 'heads' "$(g -C ../clone/b rev-parse HEAD)" "$(g -C from rev-parse HEAD)"
  g -C from archive --format=tar HEAD | (mkdir x && tar -x -C x)
  diff -r --no-dereference --exclude=.git from x
  g -C from format-patch -q -o "$PWD/patches" HEAD~3
  g -C from reset -q --hard HEAD~3
  g -C from am -q "$PWD"/patches/*.patch
  same 'trees' "$(g -C ../clone/b rev-parse 'HEAD^{tree}')" "$(g -C from rev-parse 'HEAD^{tree}')"
}
