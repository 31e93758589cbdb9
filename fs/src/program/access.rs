//! Reading as somebody else: a thread that takes a job's filesystem identity and dies with it. Not a sandbox.

use std::io;

use rustix::process::{Gid, Uid};

/// Runs `work` with the filesystem user, group and supplementary groups of a job.
///
/// The identity of Linux threads is their own (setfsuid(2)); with a user other than root the kernel also takes the
/// capabilities that override file permissions. Panics in `work` come back as errors.
pub(crate) fn as_user<T: Send>(
    uid: u32,
    gid: u32,
    groups: &[u32],
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("atlas-facts".to_owned())
            .spawn_scoped(scope, || {
                become_user(uid, gid, groups)?;
                Ok(work())
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("looking at a program failed")))
    })
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
    // -1 is nobody's id, and asks setfsuid(2) for the current one.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(refused());
    }
    if !rustix::process::geteuid().is_root() {
        // Without privileges we are one user only, and look at that user's jobs only.
        return if rustix::process::geteuid() == Uid::from_raw(uid) {
            Ok(())
        } else {
            Err(refused())
        };
    }
    let groups: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    // SAFETY: plain system calls without pointers; they change this thread only.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
    // They return the old id, also on failure: an id that changes nothing tells the current one.
    // SAFETY: as above.
    let now = unsafe {
        (
            libc::setfsuid(u32::MAX).cast_unsigned(),
            libc::setfsgid(u32::MAX).cast_unsigned(),
        )
    };
    if now == (uid, gid) {
        Ok(())
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_the_jobs_user_may_not_read_is_not_read_for_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let read = |uid| as_user(uid, uid, &[], || std::fs::read(&secret).is_ok()).unwrap();
        assert!(read(0));
        assert!(!read(65534));
        assert!(std::fs::read(&secret).is_ok(), "this thread is who it was");
    }

    #[test]
    fn a_panic_while_looking_is_an_error_and_not_the_daemons_end() {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        assert!(as_user(uid, gid, &[], || assert!(gid == u32::MAX)).is_err());
        assert!(as_user(u32::MAX, 0, &[], || ()).is_err(), "nobody's id");
    }
}
