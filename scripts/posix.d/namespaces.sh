# Processes in namespaces of their own, as containers are: users, pids, mounts, and a root that lies inside.
# shellcheck shell=bash
_namespaces_file=${BASH_SOURCE[0]}
. "$(dirname "$_namespaces_file")/common/cases.sh"

suite_about() { echo 'namespaces: a user namespace, pid, mount, ipc and net namespaces with pivot_root inside, overlayfs above'; }
suite_get() {
  debian namespaces util-linux busybox-static python3 || return
  unshare --user --map-root-user --mount --pid --fork true 2>/dev/null || { echo 'namespaces: this machine allows no user namespaces' && return 77; }
}
suite_run() { run_cases "$_namespaces_file" "$@"; }

as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all -- "$@"; }

case_root_of_a_user_namespace() {
  chown nobody:nogroup .
  as_nobody unshare --user --map-root-user sh -euc '
    test "$(id -u)" = 0
    echo mine >f; chmod 640 f; mkdir d; ln -s f l; mv f g; cat g >d/h; setfattr -n user.x -v y g 2>/dev/null || true
    test "$(stat -c %u:%g g)" = 0:0
    chown 0:0 g
    ! chown 1:1 g 2>/dev/null
    chmod u+s d/h; printf x >>d/h; test "$(stat -c %a d/h)" = 4644 -o "$(stat -c %a d/h)" = 644'
  same owner nobody:nogroup "$(stat -c %U:%G g)"
  same content $'mine\nx' "$(cat d/h)"
}
# What it may not do outside of its namespace it may not do here.
case_a_user_namespace_gives_no_rights() {
  chmod 755 .
  echo secret >s && chmod 600 s
  fails_with 'ermission denied' as_nobody unshare --user --map-root-user cat s
  fails_with 'ermission denied' as_nobody unshare --user --map-root-user touch new
  fails_with 'not permitted' as_nobody unshare --user --map-root-user chmod 666 s
}
root_inside() {
  mkdir -p root/bin root/proc root/tmp root/old
  cp /bin/busybox root/bin/
  local p
  for p in sh cat ls mkdir mv wc ps; do ln -s busybox "root/bin/$p"; done
}
case_chroot_inside() {
  root_inside
  same 'said' 'hello /' "$(chroot root /bin/sh -c 'echo hello >/tmp/f; echo "$(cat /tmp/f) $(pwd)"')"
  same 'outside' hello "$(cat root/tmp/f)"
}
case_container() {
  root_inside
  unshare --pid --fork --mount --propagation private --ipc --net --uts --cgroup sh -euc '
    mount --bind root root; cd root; mount -t proc proc proc; pivot_root . old; exec /bin/sh -euc "
      cd /; echo \$\$ >/tmp/pid; echo in >/tmp/in; cat /tmp/in >/tmp/out; mv /tmp/out /tmp/final; mkdir /tmp/d; ls /proc >/tmp/d/processes"'
  same 'pid inside' 1 "$(cat root/tmp/pid)"
  same 'written inside' in "$(cat root/tmp/final)"
}
case_container_of_a_user() {
  root_inside
  chown -R nobody:nogroup .
  as_nobody unshare --user --map-root-user --pid --fork --mount sh -euc '
    mount --bind root root; mount -t proc proc root/proc; cd root; pivot_root . old; exec /bin/sh -euc "echo \$\$ >/tmp/pid; cat /tmp/pid >/tmp/copy"'
  same 'pid inside' 1 "$(cat root/tmp/copy)"
  same owner nobody "$(stat -c %U root/tmp/copy)"
}
case_bind_and_read_only() {
  mkdir a b && echo x >a/f
  unshare --mount --propagation private sh -euc 'mount --bind a b; mount -o remount,bind,ro b; test "$(cat b/f)" = x; ! sh -c "echo y >b/f" 2>/dev/null; echo z >a/f; test "$(cat b/f)" = z'
}
case_tmpfs_and_file_mounts_above() {
  mkdir t && echo under >t/f && echo over >o
  unshare --mount --propagation private sh -euc 'mount --bind o t/f; test "$(cat t/f)" = over; umount t/f; mount -t tmpfs x t; test ! -e t/f; echo other >t/f'
  same content under "$(cat t/f)"
}
# The image of a container lies there; what the container changes lies elsewhere.
case_overlay_above() {
  mkdir -p image/d && seq 1000 >image/d/f && echo old >image/g
  local upper=$POSIX_SCRATCH/overlay
  mkdir -p "$upper"
  unshare --mount --propagation private sh -euc '
    mount -t tmpfs x "$0"; mkdir "$0/up" "$0/work" "$0/all"
    mount -t overlay all -o "lowerdir=$1,upperdir=$0/up,workdir=$0/work" "$0/all"
    cd "$0/all"; cmp d/f "$1/d/f"; echo new >>g; mv d/f d/h; rm -r d; mkdir d; echo x >d/f; test "$(cat g d/f | tr "\n" " ")" = "old new x "' \
    "$upper" "$PWD/image"
  same content old "$(cat image/g)"
  same lines 1000 "$(wc -l <image/d/f)"
}
case_no_new_privileges_and_capabilities() {
  echo x >f && chmod 600 f && chown nobody f
  fails_with 'ermission denied' setpriv --reuid 1234 --regid 1234 --clear-groups --inh-caps=-all --no-new-privs -- cat f
  same content x "$(setpriv --bounding-set=-all,+dac_override --inh-caps=-all -- cat f)"
}
