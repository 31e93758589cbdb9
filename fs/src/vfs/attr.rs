//! Attributes: what statx says, as the mount shows it, and the changes that chmod, chown, utimens, truncate and statfs ask for.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atlas_manifests::rows::FileIdentity;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatVfs, Statx, StatxFlags, StatxTimestamp, Timespec,
    Timestamps, UTIME_NOW, UTIME_OMIT,
};

use super::announced::Announced;
use super::birth;
use super::core::Vfs;
use super::credentials::As;
use super::handle::Handle;
use super::inode::{Node, NodeId, ROOT, open_path, stale};
use super::observer::{Caller, Change, FileKey, HandleId};
use super::open::open_again;
use super::sys;
use super::virtual_files::is_virtual;

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

/// What is known of an inode at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attr {
    pub(crate) key: FileKey,
    pub(crate) kind: FileType,
    /// Permission and set-id bits.
    pub(crate) perm: u16,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u32,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) blksize: u32,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

/// An inode as a reply shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) id: NodeId,
    /// The number that stat shows: the same, but for the root.
    pub(crate) ino: u64,
    pub(crate) generation: u64,
    pub(crate) attr: Attr,
    /// How long the kernel may believe the attributes.
    pub(crate) ttl: Duration,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetTime {
    Now,
    At(Time),
}

/// What a SETATTR asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<SetTime>,
    pub(crate) mtime: Option<SetTime>,
}

/// What every statx here asks for.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The store itself is asked. Of a FUSE one the kernel else says what it remembers for a second, link counts and times of other names among it.
const FRESH: AtFlags = AtFlags::STATX_FORCE_SYNC;

/// statx of an open inode (O_PATH suffices).
pub(crate) fn stat(fd: impl AsFd) -> io::Result<Attr> {
    let fd = fd.as_fd();
    let s = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH | FRESH, WANTED)?;
    Attr::of(&s, || Ok(fd))
}

/// statx of a name in a directory, of the name itself if it is a symlink.
pub(super) fn stat_at(dir: &OwnedFd, name: &OsStr) -> io::Result<Attr> {
    let s = rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | FRESH, WANTED)?;
    Attr::of(&s, || open_path(dir, name))
}

impl Attr {
    /// `open` gives a descriptor of the inode, or of another on its device.
    fn of<F: AsFd>(s: &Statx, open: impl FnOnce() -> io::Result<F>) -> io::Result<Self> {
        let dev = rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor);
        let born = if StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::BTIME)
            && birth::stays(dev, open)?
        {
            time(s.stx_btime).nanoseconds()
        } else {
            0
        };
        Ok(Self {
            key: FileKey {
                dev,
                ino: s.stx_ino,
                born,
            },
            kind: FileType::from_raw_mode(u32::from(s.stx_mode)),
            perm: s.stx_mode & 0o7777,
            nlink: s.stx_nlink,
            uid: s.stx_uid,
            gid: s.stx_gid,
            rdev: encode_device(s.stx_rdev_major, s.stx_rdev_minor),
            size: s.stx_size,
            blocks: s.stx_blocks,
            blksize: s.stx_blksize,
            atime: time(s.stx_atime),
            mtime: time(s.stx_mtime),
            ctime: time(s.stx_ctime),
        })
    }
}

fn time(t: StatxTimestamp) -> Time {
    Time {
        sec: t.tv_sec,
        nsec: t.tv_nsec,
    }
}

/// The kernel's 32-bit spelling of a device number, which FUSE uses.
fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

impl Time {
    /// Before 1970 too.
    pub(crate) fn system(self) -> SystemTime {
        let whole = Duration::from_secs(self.sec.unsigned_abs());
        let start = if self.sec < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let fraction = Duration::from_nanos(self.nsec.into());
        start
            .and_then(|t| t.checked_add(fraction))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(crate) fn nanoseconds(self) -> i128 {
        i128::from(self.sec) * 1_000_000_000 + i128::from(self.nsec)
    }
}

impl Attr {
    pub(crate) fn identity(&self) -> FileIdentity {
        FileIdentity {
            dev: self.key.dev,
            ino: self.key.ino,
            born: self.key.born,
            size: self.size,
            mtime: self.mtime.nanoseconds(),
            ctime: self.ctime.nanoseconds(),
        }
    }

    /// A regular file that runs with its owner's or group's rights.
    fn sets_ids(&self) -> bool {
        self.is_file() && u32::from(self.perm) & (libc::S_ISUID | libc::S_ISGID) != 0
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }
}

impl Vfs {
    /// GETATTR.
    pub(crate) fn getattr(&self, id: NodeId) -> io::Result<Shown> {
        if is_virtual(id) {
            return self.virtual_attr(id);
        }
        let node = self.inodes.node(id)?;
        self.show(&node)
    }

    pub(crate) fn show(&self, node: &Arc<Node>) -> io::Result<Shown> {
        let attr = self.inodes.stat(&*self.inodes.fd(node)?)?;
        Ok(self.shown(node, attr))
    }

    pub(crate) fn shown(&self, node: &Node, attr: Attr) -> Shown {
        Shown {
            id: node.id,
            ino: self.inodes.numbers.shown(node.id),
            generation: node.generation,
            attr,
            ttl: if attr.sets_ids() {
                // The store takes such a bit away when somebody writes or allocates, of which the kernel does not think by itself.
                Duration::ZERO
            } else {
                self.attr_ttl(node)
            },
        }
    }

    /// SETATTR. The kernel has checked that the caller may.
    pub(crate) fn setattr(
        &self,
        id: NodeId,
        handle: Option<HandleId>,
        changes: &Changes,
        caller: Caller,
    ) -> io::Result<Shown> {
        if is_virtual(id) {
            return self.virtual_change(id, changes);
        }
        self.writable()?;
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        if let Some(size) = changes.size {
            let open = handle.and_then(|h| self.handles.file(h).ok());
            self.resize(&node, open.as_deref(), size, caller)?;
        }
        let before = self.inodes.stat(&*fd)?;
        self.restating(&before, &*fd, || {
            change(&fd, changes, (caller, before.perm))
        })?;
        self.show(&node)
    }

    /// A change around the bytes, which moves the times that identify them: the observer is told before and after it, also when it fails.
    pub(crate) fn restating(
        &self,
        before: &Attr,
        fd: impl AsFd,
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if !before.is_file() {
            return change();
        }
        let observer = self.observer()?;
        observer.before_restating(before.key);
        let changed = change();
        // A store that goes by names (FUSE) does not know any more what was found by one that has gone.
        let by_key = || {
            let node = self.inodes.by_key(before.key)?;
            self.inodes.stat(&*self.inodes.fd(&node).ok()?).ok()
        };
        let now = self.inodes.stat(fd).ok().or_else(by_key);
        let now = now.map_or(before.identity(), |now| now.identity());
        observer.restated(before.key, &before.identity(), &now);
        changed
    }

    /// A file of an overlay is about to be changed, and is copied up if it has not been yet. Where that makes another inode of it (its
    /// layers lie on several filesystems), the kernel shall look again, ESTALE, and change that one.
    pub(crate) fn copy_up(&self, node: &Node, fd: &OwnedFd, before: &Attr) -> io::Result<()> {
        if !birth::is_overlay(fd)? {
            return Ok(());
        }
        self.restating(before, fd, || open_again(fd, OFlags::WRONLY).map(drop))?;
        if self.inodes.stat(fd)?.key == node.key {
            Ok(())
        } else {
            Err(stale())
        }
    }

    fn resize(
        &self,
        node: &Arc<Node>,
        handle: Option<&Handle>,
        size: u64,
        caller: Caller,
    ) -> io::Result<()> {
        let fd = self.inodes.fd(node)?;
        let regular = node.kind == FileType::RegularFile;
        let observer = self.observer()?;
        let before = self.inodes.stat(&*fd)?;
        let _announced = regular.then(|| Announced::new(&**observer, node.key, true));
        if regular {
            self.copy_up(node, &fd, &before)?;
        }
        {
            let _as = As::group_aware(caller, before.perm);
            match handle.and_then(|h| h.backing.as_ref().filter(|_| h.access.write)) {
                Some(file) => rustix::fs::ftruncate(file, size)?,
                None => sys::truncate(&sys::proc_path(&*fd), size)?,
            }
        }
        if regular {
            let path = self.inodes.path(node);
            let how = Change::Resize;
            observer.changed(node.key, handle.map(|h| h.id), &path, how, caller);
        }
        Ok(())
    }

    /// STATFS of the filesystem that holds the inode.
    pub(crate) fn statfs(&self, id: NodeId) -> io::Result<StatVfs> {
        let node = self.inodes.node(if is_virtual(id) { ROOT } else { id })?;
        Ok(rustix::fs::fstatvfs(&*self.inodes.fd(&node)?)?)
    }
}

/// What SETATTR changes besides the length.
fn change(fd: &Arc<OwnedFd>, changes: &Changes, (caller, perm): (Caller, u16)) -> io::Result<()> {
    if let Some(mode) = changes.mode {
        // The kernel has taken S_ISGID away from callers who may not set it.
        let _as = As::trusted();
        chmod(fd, mode)?;
    }
    // A request for nothing is chown(2) to nobody: it leaves the owners and moves the change time, and takes set-ID bits away.
    let nothing = *changes == Changes::default();
    if changes.uid.is_some() || changes.gid.is_some() || nothing {
        let _as = As::group_aware(caller, perm);
        sys::chown(&**fd, changes.uid, changes.gid)?;
    }
    if changes.atime.is_some() || changes.mtime.is_some() {
        let times = Timestamps {
            last_access: timespec(changes.atime),
            last_modification: timespec(changes.mtime),
        };
        rustix::fs::utimensat(&**fd, "", &times, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// chmod of an inode held by O_PATH. A symlink has no mode of its own to change.
fn chmod(fd: &impl AsFd, mode: u32) -> io::Result<()> {
    let path = sys::proc_path(fd);
    Ok(rustix::fs::chmod(
        path.as_c_str(),
        Mode::from_raw_mode(mode & 0o7777),
    )?)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(SetTime::At(t)) => Timespec {
            tv_sec: t.sec,
            tv_nsec: t.nsec.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_over_eight_bits_survive() {
        assert_eq!(encode_device(1, 3), 0x103);
        assert_eq!(encode_device(259, 0x12345), 0x45 | 259 << 8 | 0x12300 << 12);
    }
}
