//! Whether a birth time says which inode it is. An overlay shows that of the layer a file lies in, and a file that is copied up, because
//! somebody opens it for writing or changes its mode, becomes younger without becoming another. Not what an identity is made of: see `attr`.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::FsWord;

/// OVERLAYFS_SUPER_MAGIC of statfs(2).
pub(super) const OVERLAY: FsWord = 0x794c_7630;

thread_local! {
    /// Device numbers, and whether birth times stay there. Few; each thread asks once for each.
    static KNOWN: RefCell<Vec<(u64, bool)>> = const { RefCell::new(Vec::new()) };
}

/// True where inodes keep their birth time. `open` gives a descriptor of some inode on `device`, and is only called when that is unknown.
pub(super) fn stays<F: AsFd>(
    device: u64,
    open: impl FnOnce() -> io::Result<F>,
) -> io::Result<bool> {
    let known = KNOWN.with_borrow(|all| all.iter().find(|(d, _)| *d == device).map(|(_, s)| *s));
    if let Some(stays) = known {
        return Ok(stays);
    }
    let stays = !is_overlay(open()?)?;
    KNOWN.with_borrow_mut(|all| all.push((device, stays)));
    Ok(stays)
}

/// Whether an inode lies on an overlay.
pub(super) fn is_overlay(fd: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == OVERLAY)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_device_is_asked_once_and_proc_is_no_overlay() {
        let device = u64::MAX;
        assert!(stays(device, || File::open("/proc")).expect("it answers"));
        let never = || -> io::Result<File> { panic!("asked again") };
        assert!(stays(device, never).expect("known"));
    }
}
