//! Locks between processes. The kernel keeps them; what is tested is that nothing of ours gets in its way.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::Command;

use super::harness::{MODES, Mount, eventually};

/// fcntl lock of the whole file; POSIX or, with `ofd`, of the description.
fn lock(f: &File, kind: i32, ofd: bool) -> Result<(), i32> {
    let command = if ofd {
        libc::F_OFD_SETLK
    } else {
        libc::F_SETLK
    };
    // SAFETY: all zeros is a valid flock: whole file, pid 0.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = kind as i16;
    // SAFETY: fcntl with a flock that lives across the call.
    match unsafe { libc::fcntl(f.as_raw_fd(), command, &raw mut l) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

fn open(path: &std::path::Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("opens")
}

#[test]
fn locks_exclude_other_processes_and_end_with_them() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.path.join("f");
        fs::write(&path, b"x").expect("written");
        let (a, b) = (open(&path), open(&path));

        rustix::fs::flock(&a, rustix::fs::FlockOperation::LockExclusive).expect("locked");
        let other = rustix::fs::flock(&b, rustix::fs::FlockOperation::NonBlockingLockShared);
        assert_eq!(other, Err(rustix::io::Errno::AGAIN), "{mode}");
        // Another process, through its own open.
        let busy = Command::new("flock")
            .arg("-n")
            .arg(&path)
            .arg("true")
            .status();
        assert_eq!(busy.expect("flock(1) runs").code(), Some(1), "{mode}");
        rustix::fs::flock(&a, rustix::fs::FlockOperation::Unlock).expect("unlocked");
        eventually("another process gets it", || {
            let free = Command::new("flock")
                .arg("-n")
                .arg(&path)
                .arg("true")
                .status();
            free.expect("flock(1) runs").success()
        });

        lock(&a, libc::F_WRLCK, true).expect("OFD lock");
        assert_eq!(lock(&b, libc::F_RDLCK, true), Err(libc::EAGAIN), "{mode}");
        assert_eq!(lock(&b, libc::F_WRLCK, false), Err(libc::EAGAIN), "{mode}");
        drop(a);
        eventually("it ends with its description", || {
            lock(&b, libc::F_WRLCK, true).is_ok()
        });
        lock(&b, libc::F_UNLCK, true).expect("unlocked");

        lock(&b, libc::F_WRLCK, false).expect("POSIX lock");
        drop(open(&path));
        let c = open(&path);
        eventually("closing any descriptor drops POSIX locks", || {
            lock(&c, libc::F_RDLCK, true).is_ok()
        });
    }
}
