# inotify: what a watcher is told of what others do.
# shellcheck shell=bash
_watching_file=${BASH_SOURCE[0]}
. "$(dirname "$_watching_file")/common/cases.sh"

suite_about() { echo 'watching: inotifywait and tail -F are told of creations, changes, closes, moves and deletions'; }
suite_get() { debian watching inotify-tools coreutils; }
suite_run() { run_cases "$_watching_file" "$@"; }

# Runs a function in `d` while it is watched, and prints the events, one a line, until `d/end` is written.
watched() { # FUNCTION
  mkdir -p d
  inotifywait -q -m -r --format '%e %w%f' -e "${events:-create,modify,attrib,close_write,moved_from,moved_to,delete}" d >seen 2>errors &
  local pid=$!
  until_true established "$pid"
  (cd d && "$1")
  echo end >d/end
  until_true grep -q 'd/end' seen
  kill "$pid" 2>/dev/null || true
  wait "$pid" || true
  [ ! -s errors ] || wrong "$(last_line errors)"
  grep -v ' d/end$' seen || true
}
# inotifywait says nothing when it is ready; its descriptor does.
established() { cat "/proc/$1/fdinfo/"* 2>/dev/null | grep -q '^inotify wd:'; }

simple() { echo one >a; echo two >>a; chmod 600 a; mv a b; ln b c; rm c; rm b; }
case_create_modify_move_delete() {
  same events 'CREATE d/a
MODIFY d/a
CLOSE_WRITE,CLOSE d/a
MODIFY d/a
CLOSE_WRITE,CLOSE d/a
ATTRIB d/a
MOVED_FROM d/a
MOVED_TO d/b
CREATE d/c
DELETE d/c
DELETE d/b' "$(watched simple)"
}
# A moment between: inotifywait -r complains of what is gone before it could watch it.
dirs() { mkdir x; sleep 1; rmdir x; }
case_directories() { same events 'CREATE,ISDIR d/x
DELETE,ISDIR d/x' "$(watched dirs)"; }
replace() { echo new >t; mv t f; }
case_save_by_rename() {
  mkdir d && echo old >d/f
  same events 'CREATE d/t
MODIFY d/t
CLOSE_WRITE,CLOSE d/t
MOVED_FROM d/t
MOVED_TO d/f' "$(watched replace)"
}
resize() { truncate -s 100 f; truncate -s 0 f; : >f; }
case_truncation() {
  mkdir d && echo old >d/f
  events=modify same events 'MODIFY d/f
MODIFY d/f' "$(events=modify watched resize | uniq -c | awk '{for (i = 0; i < ($1 > 2 ? 2 : $1); i++) print $2, $3}')"
}
reads() { cat f >/dev/null; }
case_access() {
  mkdir d && echo old >d/f
  same events 'OPEN d/f
ACCESS d/f
CLOSE_NOWRITE,CLOSE d/f' "$(events=open,access,close_nowrite,close_write watched reads | grep 'd/f')"
}
case_own_file() {
  python3 - <<'PY'
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(os.O_CLOEXEC)
open("f", "w").write("x")
ALL, IGNORED, DELETE_SELF, ATTRIB, MOVE_SELF = 0xFFF, 0x8000, 0x400, 0x4, 0x800
wd = libc.inotify_add_watch(fd, b"f", ATTRIB | MOVE_SELF | DELETE_SELF)
assert wd > 0
os.rename("f", "g")
os.unlink("g")
got = []
while not got or got[-1] != IGNORED:
    data = os.read(fd, 4096)
    while data:
        _, mask, _, length = struct.unpack_from("iIII", data)
        got.append(mask)
        data = data[16 + length:]
assert got == [MOVE_SELF, ATTRIB, DELETE_SELF, IGNORED], [hex(m) for m in got]
PY
}
case_tail_follows() {
  echo 1 >log
  tail -n +1 -F log >seen 2>/dev/null &
  local pid=$!
  until_true grep -qx 1 seen
  echo 2 >>log
  until_true grep -qx 2 seen
  mv log log.1
  echo 3 >log
  until_true grep -qx 3 seen
  kill "$pid"
  wait "$pid" || true
  same lines '1 2 3' "$(paste -sd' ' seen)"
}
