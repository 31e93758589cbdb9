//! Whether the kernel can move the bytes here: asked before the mount, answered in words. The last word is the kernel's, at INIT.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FsWord, Mode as Bits, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::CapabilitySet;

use super::birth::OVERLAY;
use super::options::{IoDecision, Mode};

/// FUSE passthrough came with Linux 6.9.
const FIRST_KERNEL: (u32, u32) = (6, 9);

/// FUSE_SUPER_MAGIC of statfs(2).
pub(super) const FUSE_MAGIC: FsWord = 0x6573_5546;

/// Which mode works for the backing directory `source`, and why. Leaves nothing behind.
pub fn probe(source: &Path) -> IoDecision {
    let opened = rustix::fs::open(
        source,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Bits::empty(),
    );
    match opened {
        Ok(fd) => probe_fd(fd),
        Err(e) => inline(format!("the source cannot be opened: {e}")),
    }
}

/// The same for a directory that is open already.
pub(crate) fn probe_fd(source: impl AsFd) -> IoDecision {
    match obstacle(&source) {
        Some(reason) => inline(reason),
        None => IoDecision {
            mode: Mode::Passthrough,
            reason: "the kernel and the store allow it".into(),
        },
    }
}

/// An error, with the remedy, where passthrough cannot work for the backing directory `source`.
pub(crate) fn required(source: impl AsFd) -> io::Result<()> {
    obstacle(&source).map_or(Ok(()), |reason| Err(impossible(&reason)))
}

/// Passthrough was asked for and cannot be had.
pub(super) fn impossible(reason: &str) -> io::Error {
    let text = format!("passthrough cannot work: {reason}: use --io inline, or --io auto");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

fn inline(reason: String) -> IoDecision {
    IoDecision {
        mode: Mode::Inline,
        reason,
    }
}

fn obstacle(source: &impl AsFd) -> Option<String> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if kernel_version(&release).is_none_or(|v| v < FIRST_KERNEL) {
        return Some(format!("Linux {release} has no FUSE passthrough (6.9 has)"));
    }
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|c| c.effective.contains(CapabilitySet::SYS_ADMIN));
    if !capable {
        return Some("the daemon lacks CAP_SYS_ADMIN".into());
    }
    let initial = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    if !initial {
        return Some("the daemon is not in the initial user namespace".into());
    }
    match rustix::fs::fstatfs(source) {
        Ok(s) if s.f_type == FUSE_MAGIC => {
            return Some("the store is FUSE itself, whose times may lag behind maps".into());
        }
        _ => {}
    }
    leases(source).err()
}

/// A read lease is the proof that nobody writes. It has to be had when nobody does, and not while a file that was closed is still mapped
/// for writing: a store that hands maps on to another filesystem (overlayfs) does not know of them.
fn leases(source: &impl AsFd) -> Result<(), String> {
    let Some(file) = scrap(source)? else {
        return Ok(());
    };
    let failed = |e: Errno| format!("a file of the source cannot be mapped: {e}");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reader = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Bits::empty())
        .map_err(|e| format!("a file of the source cannot be opened again: {e}"))?;
    rustix::fs::ftruncate(&file, PAGE as u64).map_err(failed)?;
    let map = Map::of(&file).map_err(failed)?;
    drop(file);
    let unseen = lease(&reader).is_ok();
    drop(map);
    match lease(&reader) {
        Err(e) => Err(format!("the store has no read leases (F_SETLEASE: {e})")),
        Ok(()) if unseen => Err(
            "a read lease of the store does not see who still has a closed file mapped (as on overlayfs)"
                .into(),
        ),
        Ok(()) => Ok(()),
    }
}

/// A new file of the store, open for reading and writing and without a name. `None` where nothing can be written, so that no proof of quiet is needed.
fn scrap(source: &impl AsFd) -> Result<Option<OwnedFd>, String> {
    let failed = |e: Errno| format!("no file can be made in the source: {e}");
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Bits::RUSR | Bits::WUSR;
    match rustix::fs::openat(source, ".", flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(Some(file)),
        Err(Errno::ROFS) => return Ok(None),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
    }
    // A store without O_TMPFILE: for a moment it has a name.
    let name = format!(".atlas-probe-{}", std::process::id());
    let file = rustix::fs::openat(source, &name, flags | OFlags::CREATE | OFlags::EXCL, mode);
    let file = file.map_err(failed)?;
    rustix::fs::unlinkat(source, &name, AtFlags::empty()).map_err(failed)?;
    Ok(Some(file))
}

/// Takes a read lease and gives it back.
fn lease(file: &OwnedFd) -> io::Result<()> {
    for what in [libc::F_RDLCK, libc::F_UNLCK] {
        // SAFETY: fcntl with an integer argument on a descriptor that lives across the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, what) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

const PAGE: usize = 4096;

/// The first page of a file, mapped for writing.
struct Map(*mut std::ffi::c_void);

impl Map {
    fn of(file: &OwnedFd) -> Result<Self, Errno> {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses; nobody reads or writes it.
        let at = unsafe { mmap(std::ptr::null_mut(), PAGE, both, MapFlags::SHARED, file, 0) };
        at.map(Self)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody points into it.
        let _ = unsafe { munmap(self.0, PAGE) };
    }
}

/// Whether a filesystem may itself lie upon another; yes when that cannot be told.
pub(crate) fn is_stacked(fs: impl AsFd) -> bool {
    const ECRYPTFS: FsWord = 0xf15f;
    // A FUSE filesystem does when it passes its files through.
    let kinds = [OVERLAY, ECRYPTFS, FUSE_MAGIC];
    rustix::fs::fstatfs(fs).map_or(true, |s| kinds.contains(&s.f_type))
}

/// Major and minor of `uname -r`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_with_suffixes_are_read() {
        assert_eq!(kernel_version("6.18.0-rc1+"), Some((6, 18)));
        assert_eq!(kernel_version("6.9-generic"), Some((6, 9)));
        assert_eq!(kernel_version("six"), None);
        assert!(kernel_version("5.15.0").is_some_and(|v| v < FIRST_KERNEL));
    }

    #[test]
    fn only_a_store_of_its_own_is_not_stacked() {
        let proc = std::fs::File::open("/proc").expect("it is there");
        assert!(!is_stacked(proc));
    }

    #[test]
    fn a_missing_source_is_named_and_not_a_panic() {
        let decision = probe(Path::new("/nonexistent/source"));
        assert_eq!(decision.mode, Mode::Inline);
        assert!(decision.reason.contains("cannot be opened"));
    }
}
