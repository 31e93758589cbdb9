//! System calls that rustix does not offer, each behind a safe function. Not where any decision is made.

use std::ffi::{CStr, CString, c_int, c_uint};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The kernel's MAX_HANDLE_SZ.
const HANDLE_BYTES: usize = 128;

/// A `struct file_handle`: names an inode without holding it, and says ESTALE when it is gone.
#[repr(C)]
#[derive(Clone)]
struct RawHandle {
    bytes: c_uint,
    kind: c_int,
    data: [u8; HANDLE_BYTES],
}

/// A file handle of one mount, as short as the store made it.
#[derive(Debug, Clone)]
pub(crate) struct StoreHandle {
    kind: c_int,
    data: Box<[u8]>,
}

/// The handle of an open inode (O_PATH suffices). EOPNOTSUPP where the store has none.
pub(crate) fn name_to_handle(fd: impl AsFd) -> io::Result<StoreHandle> {
    let mut raw = RawHandle {
        bytes: HANDLE_BYTES as c_uint,
        kind: 0,
        data: [0; HANDLE_BYTES],
    };
    let mut mount: c_int = 0;
    // SAFETY: `raw` is a file_handle with room for the bytes it announces; the path is empty and terminated.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let len = (raw.bytes as usize).min(HANDLE_BYTES);
    Ok(StoreHandle {
        kind: raw.kind,
        data: raw.data[..len].into(),
    })
}

/// Opens a handle with O_PATH. `mount` is an ordinary descriptor (not O_PATH) on the handle's mount. Needs CAP_DAC_READ_SEARCH.
pub(crate) fn open_handle(mount: impl AsFd, handle: &StoreHandle) -> io::Result<OwnedFd> {
    let mut raw = RawHandle {
        bytes: handle.data.len() as c_uint,
        kind: handle.kind,
        data: [0; HANDLE_BYTES],
    };
    raw.data[..handle.data.len()].copy_from_slice(&handle.data);
    // SAFETY: `raw` is a file_handle whose length is that of the bytes copied into it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_fd().as_raw_fd(),
            &raw const raw,
            libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// The magic link to an open inode: the way to operations that refuse O_PATH descriptors.
pub(crate) fn proc_path(fd: impl AsFd) -> CString {
    let text = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    CString::new(text).unwrap_or_default()
}

/// truncate(2).
pub(crate) fn truncate(path: &CStr, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: the path is terminated.
    check(unsafe { libc::truncate(path.as_ptr(), length) })
}

/// fchownat(2) of an open inode; `None` leaves an id alone.
pub(crate) fn chown(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    // SAFETY: the path is empty and terminated.
    check(unsafe {
        libc::fchownat(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            uid.unwrap_or(u32::MAX),
            gid.unwrap_or(u32::MAX),
            libc::AT_EMPTY_PATH,
        )
    })
}

/// mknodat(2) with the device number as FUSE and statx give it.
pub(crate) fn mknod(dir: impl AsFd, name: &CStr, mode: u32, rdev: u64) -> io::Result<()> {
    // SAFETY: the name is terminated.
    check(unsafe { libc::mknodat(dir.as_fd().as_raw_fd(), name.as_ptr(), mode, rdev) })
}

/// Gives this thread its own umask (and working directory). Once a thread.
pub(crate) fn own_umask() -> io::Result<()> {
    // SAFETY: unshare(CLONE_FS) touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_FS) })
}

/// Sets the umask: of this thread alone after `own_umask`.
pub(crate) fn umask(mask: u32) {
    // SAFETY: umask cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// Sets this thread's filesystem ids. They cannot fail for a privileged caller; the kernel drops or restores the filesystem capabilities with
/// the user id.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: both calls touch this thread's credentials only.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Sets this thread's supplementary groups. The raw call, because libc's wrapper changes every thread.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(done as c_int)
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_outlives_its_descriptor_and_dies_with_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mount = std::fs::File::open(dir.path()).expect("it opens");
        let path = dir.path().join("f");
        let file = std::fs::File::create(&path).expect("created");
        let Ok(handle) = name_to_handle(&file) else {
            return; // This store has no handles; the table then pins descriptors.
        };
        drop(file);
        match open_handle(&mount, &handle) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => return,
            Err(e) => panic!("{e}"),
        }
        std::fs::remove_file(&path).expect("removed");
        let gone = open_handle(&mount, &handle).expect_err("it is gone");
        assert_eq!(gone.raw_os_error(), Some(libc::ESTALE));
    }
}
