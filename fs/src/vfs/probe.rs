//! Whether the kernel can move the bytes here: asked before the mount, answered in words. The last word is the kernel's, at INIT.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{Mode as Bits, OFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::options::{IoDecision, Mode};

/// FUSE passthrough came with Linux 6.9.
const FIRST_KERNEL: (u32, u32) = (6, 9);

/// Which mode works for the backing directory `source`, and why. Writes nothing.
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
    leases(source).err()
}

/// A read lease on an unnamed file of the store: the proof that nobody writes rests on it.
fn leases(source: &impl AsFd) -> Result<(), String> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(source, ".", flags, Bits::RUSR | Bits::WUSR) {
        Ok(file) => file,
        // Nothing can be written there, so no proof of quiet is needed.
        Err(Errno::ROFS) => return Ok(()),
        // A store without O_TMPFILE says nothing about leases: `open` finds out, file by file.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => return Ok(()),
        Err(e) => return Err(format!("no file can be made in the source: {e}")),
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reader = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Bits::empty())
        .map_err(|e| format!("a file of the source cannot be opened again: {e}"))?;
    drop(file);
    // SAFETY: fcntl with an integer argument on a descriptor that lives across the call.
    let taken = unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if taken == 0 {
        // The lease ends with the description, at the end of this function.
        return Ok(());
    }
    let e = std::io::Error::last_os_error();
    Err(format!("the store has no read leases (F_SETLEASE: {e})"))
}

/// Whether a filesystem may itself lie upon another; yes when that cannot be told.
pub(crate) fn is_stacked(fs: impl AsFd) -> bool {
    const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
    const ECRYPTFS: rustix::fs::FsWord = 0xf15f;
    // A FUSE filesystem does when it passes its files through.
    let kinds = [OVERLAYFS, ECRYPTFS, super::inode::FUSE_MAGIC];
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
