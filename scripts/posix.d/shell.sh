# What shell scripts rely on: flock(1), mkdir, ln -s and noclobber as locks, pipes and sockets with a name, find, du, and editors' ways to save.
# shellcheck shell=bash
_shell_file=${BASH_SOURCE[0]}
. "$(dirname "$_shell_file")/common/cases.sh"

suite_about() { echo 'shell: locks by flock, mkdir, symlink and O_EXCL from 8 processes, named pipes, sockets, maps, find, du, editors'; }
suite_get() {
  debian shell util-linux coreutils findutils perl vim nano python3 gcc libc6-dev ed || return
  # A hundred megabytes: where it is there already, the smoke size runs it too.
  [ "${1:-smoke}" = smoke ] || debian shell emacs-nox
}
suite_run() { run_cases "$_shell_file" "$@"; }

rounds() { if [ "$size" = full ]; then echo 200; else echo 6; fi; }

# Eight processes add to one number, each under the lock: none may be lost.
counted() { # LOCK UNLOCK
  echo 0 >count
  local n p pids=()
  for n in 1 2 3 4 5 6 7 8; do
    (
      for _ in $(seq "$(rounds)"); do
        until "$1" 2>/dev/null; do sleep 0.01; done
        read -r have <count
        echo $((have + 1)) >count
        "$2"
      done
    ) &
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  same count $((8 * $(rounds))) "$(cat count)"
}
by_mkdir() { mkdir lock.d; }
no_mkdir() { rmdir lock.d; }
case_lock_by_mkdir() { counted by_mkdir no_mkdir; }
by_symlink() { ln -s "$BASHPID" lock.l; }
no_symlink() { rm lock.l; }
case_lock_by_symlink() { counted by_symlink no_symlink; }
by_noclobber() { (set -C && : >lock.f); }
no_noclobber() { rm lock.f; }
case_lock_by_noclobber() { counted by_noclobber no_noclobber; }
by_link() { : >"mine.$BASHPID" && ln "mine.$BASHPID" lock.h; }
no_link() { rm lock.h; }
case_lock_by_hard_link() { counted by_link no_link; }

case_flock() {
  echo 0 >count
  local n p pids=()
  for n in 1 2 3 4 5 6 7 8; do
    (for _ in $(seq "$(rounds)"); do
      flock count.lock bash -c 'read -r n <count; echo $((n + 1)) >count'
    done) &
    pids+=($!)
  done
  for p in "${pids[@]}"; do wait "$p"; done
  same count $((8 * $(rounds))) "$(cat count)"
  flock held.lock bash -c ': >taken; until [ -e go ]; do sleep 0.02; done' &
  n=$!
  until_true test -e taken
  if flock --nonblock held.lock true; then wrong 'a held lock was given twice'; fi
  if flock --shared --nonblock held.lock true; then wrong 'a lock held by one was shared'; fi
  : >go
  wait "$n"
  flock --nonblock held.lock true
}

case_exclusive_creation() {
  python3 - "$(rounds)" <<'PY'
import os, sys
rounds, pids = int(sys.argv[1]), []
for who in range(8):
    pid = os.fork()
    if pid == 0:
        won = 0
        for n in range(rounds):
            try:
                os.close(os.open(f"x{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won += 1
            except FileExistsError:
                pass
        with open(f"won{who}", "w") as f:
            f.write(str(won))
        os._exit(0)
    pids.append(pid)
for pid in pids:
    assert os.waitpid(pid, 0)[1] == 0
assert sum(int(open(f"won{w}").read()) for w in range(8)) == rounds
PY
}

case_named_pipe() {
  mkfifo p
  same type 'fifo' "$(stat -c %F p)"
  seq 20000 >p &
  same lines 20000 "$(wc -l <p)"
  wait $!
  cat p >got &
  local reader=$!
  echo through >p
  wait "$reader"
  same said through "$(cat got)"
}

case_unix_socket() {
  python3 - <<'PY'
import os, socket, stat
s = socket.socket(socket.AF_UNIX)
s.bind("s")
assert stat.S_ISSOCK(os.stat("s").st_mode)
s.listen(1)
c = socket.socket(socket.AF_UNIX)
c.connect("s")
a, _ = s.accept()
c.sendall(b"hello")
assert a.recv(9) == b"hello"
# A descriptor of a file sent through it still leads to the file.
with open("f", "w+") as f:
    f.write("sent")
    f.flush()
    socket.send_fds(c, [b"x"], [f.fileno()])
_, fds, _, _ = socket.recv_fds(a, 1, 1)
assert os.pread(fds[0], 9, 0) == b"sent"
try:
    socket.socket(socket.AF_UNIX).bind("s")
except OSError as e:
    assert e.errno == 98, e
else:
    raise SystemExit("bound twice")
os.unlink("s")
PY
}

case_shared_maps() {
  python3 - <<'PY'
import mmap, os, struct
with open("m", "w+b") as f:
    f.truncate(1 << 20)
    pids = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            with open("m", "r+b") as g:
                m = mmap.mmap(g.fileno(), 1 << 20)
                for n in range(1000):
                    struct.pack_into("<I", m, (who * 1000 + n) * 64, who * 1000 + n + 1)
                if who == 0:
                    m.flush()
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    m = mmap.mmap(f.fileno(), 1 << 20, prot=mmap.PROT_READ)
    for n in range(4000):
        assert struct.unpack_from("<I", m, n * 64)[0] == n + 1, n
    # What write(2) changes shows in the map, and what the map changes in read(2).
    os.pwrite(f.fileno(), b"written", 600000)
    assert m[600000:600007] == b"written"
    w = mmap.mmap(f.fileno(), 1 << 20)
    w[700000:700006] = b"mapped"
    assert os.pread(f.fileno(), 6, 700000) == b"mapped"
    # A private map changes nothing.
    p = mmap.mmap(f.fileno(), 4096, flags=mmap.MAP_PRIVATE)
    p[0:4] = b"mine"
    assert os.pread(f.fileno(), 4, 0) == struct.pack("<I", 1)
PY
}

case_programs_run_and_are_busy() {
  cat >x.c <<'C'
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) { puts("ran"); fflush(stdout); if (argc > 1) while (access(argv[1], F_OK)) usleep(20000); return 7; }
C
  gcc -o x x.c
  local code=0 n
  ./x >said || code=$?
  same code 7 "$code"
  same said ran "$(cat said)"
  ./x go >/dev/null &
  n=$!
  until_true grep -q "$PWD/x" "/proc/$n/maps"
  fails_with 'busy' bash -c ': >>x'
  cp x y && mv y x # Replacing it is allowed.
  : >go
  wait "$n" || true
  echo 'int f(void){return 42;}' >l.c
  gcc -shared -fPIC -o l.so l.c
  same 'from the library' 42 "$(python3 -c 'import ctypes; print(ctypes.CDLL("./l.so").f())')"
  printf '#!/bin/sh\necho script "$@"\n' >s && chmod 755 s
  same script 'script a b' "$(./s a b)"
  chmod 644 s
  fails_with 'ermission denied' ./s
}

case_find_and_du() {
  mkdir -p t/a/b t/c
  local n sum
  for n in $(seq 40); do head -c $((n * 997)) /dev/zero >"t/a/f$n"; done
  touch t/c/empty
  ln t/a/f1 t/c/hard
  ln -s ../a/f1 t/c/soft
  truncate -s 5M t/hole
  same files 43 "$(find t -type f | wc -l)"
  same empty t/c/empty "$(find t -empty -type f)"
  same links 2 "$(find t -samefile t/a/f1 | wc -l)"
  same dirs 4 "$(find t -type d | wc -l)"
  # With -noleaf or without: link counts of directories are those of the store.
  same 'link counts' "$(find t -noleaf | sort)" "$(find t | sort)"
  sum=$(find t -type f -printf '%i %b\n' | sort -u | awk '{s += $2} END {print s * 512}')
  sum=$((sum + $(find t -type d -printf '%b\n' | awk '{s += $1} END {print s * 512}')))
  sum=$((sum + $(find t -type l -printf '%b\n' | awk '{s += $1} END {print s * 512 + 0}')))
  same du "$sum" "$(du -s -B1 t | cut -f1)"
  rm -r t
  [ ! -e t ]
}

# A file as an editor finds it, and what must be left of it: content, and mode where the editor keeps it.
edited() { same content 'one
TWO
three' "$(cat f)"; }
plain_file() { printf 'one\ntwo\nthree\n' >f && chmod 640 f; }
case_edit_with_sed() { plain_file && sed -i s/two/TWO/ f && edited && same mode 640 "$(stat -c %a f)" && same names f "$(ls -A)"; }
case_edit_with_sed_backup() { plain_file && sed -i.bak s/two/TWO/ f && edited && grep -qx two f.bak; }
case_edit_with_perl() { plain_file && perl -pi -e 's/two/TWO/' f && edited && same mode 640 "$(stat -c %a f)"; }
case_edit_with_perl_backup() { plain_file && perl -pi.orig -e 's/two/TWO/' f && edited && grep -qx two f.orig; }
case_edit_with_ed() { plain_file && printf '2s/two/TWO/\nw\nq\n' | ed -s f && edited; }
vim_saves() { # SETTINGS
  plain_file
  HOME=$PWD vim -u NONE -i NONE -N -es -c 'set backupskip=' -c "set $1" -c '%s/two/TWO/' -c 'wq' f </dev/null
  edited
  same mode 640 "$(stat -c %a f)"
}
case_edit_with_vim_by_rename() {
  local old
  plain_file
  old=$(stat -c %i f)
  vim_saves 'backupcopy=no backup backupext=.old'
  grep -qx two f.old
  same 'inode of the backup' "$old" "$(stat -c %i f.old)"
}
case_edit_with_vim_in_place() {
  local old
  plain_file
  old=$(stat -c %i f)
  vim_saves 'backupcopy=yes nobackup writebackup'
  same names f "$(ls -A)"
  same inode "$old" "$(stat -c %i f)"
}
case_edit_with_vim_swap_file() {
  plain_file
  HOME=$PWD vim -u NONE -i NONE -N -es -c 'set backupskip=' -c 'set updatecount=1 directory=.' -c '%s/two/TWO/' -c 'preserve' -c 'silent !ls -A > names' -c 'wq' f </dev/null
  edited
  grep -qx '.f.swp' names
  [ ! -e .f.swp ]
}
# nano wants a terminal, and is told what to do when it has said what it waits for.
case_edit_with_nano() {
  plain_file
  HOME=$PWD python3 - <<'PY'
import os, pty
pid, tty = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp("nano", ["nano", "--ignorercfiles", "--backup", "f"])
def until(text):
    seen = b""
    while text not in seen:
        try:
            piece = os.read(tty, 4096)
        except OSError:
            piece = b""
        assert piece, f"nano ended: {seen!r}"
        seen += piece
until(b"three")
for keys, then in [(b"\x1c", b"Search (to replace)"), (b"two\r", b"Replace with"), (b"TWO\r", b"this instance"), (b"A", b"Replaced 1"), (b"\x0f", b"File Name to Write"), (b"\r", b"Wrote 3 lines")]:
    os.write(tty, keys)
    until(then)
os.write(tty, b"\x18")
assert os.waitpid(pid, 0)[1] == 0
PY
  edited
  grep -qx two f~
  same mode 640 "$(stat -c %a f)"
}
case_edit_with_emacs() {
  command -v emacs >/dev/null || skip 'no emacs on this machine'
  plain_file
  local old
  old=$(stat -c %i f)
  # In batch, and below /tmp, it makes no backups unless told to.
  HOME=$PWD emacs -Q --batch f --eval '(progn (setq make-backup-files t backup-inhibited nil backup-enable-predicate (lambda (_) t)) (replace-string "two" "TWO") (save-buffer))'
  edited
  same 'inode of the backup' "$old" "$(stat -c %i f~)"
  same mode 640 "$(stat -c %a f)"
  same names 'f f~' "$(ls -A | paste -sd' ')"
}
case_edit_by_rename_with_fsync() {
  plain_file
  python3 - <<'PY'
import os, shutil, tempfile
fd, name = tempfile.mkstemp(dir=".")
with os.fdopen(fd, "w") as f:
    f.write(open("f").read().replace("two", "TWO"))
    f.flush()
    os.fsync(f.fileno())
shutil.copystat("f", name)
os.replace(name, "f")
d = os.open(".", os.O_RDONLY)
os.fsync(d)
PY
  edited
}
