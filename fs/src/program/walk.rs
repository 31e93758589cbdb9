//! Opening a job's path without ever asking our own mount: component by component, and on the backing side from where the mount begins.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use atlas_manifests::rows::FileIdentity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;

use crate::caller::identity;

/// Opens a file or directory of the backing directory, by its path relative to the mount's root.
pub type Resolve = Box<dyn Fn(&Path) -> Option<File> + Send + Sync>;

/// The path relative to the mount's root of a directory that the mount shows with this inode number.
pub type Place = Box<dyn Fn(u64) -> Option<PathBuf> + Send + Sync>;

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;
/// No path has more components.
const MAX_PARTS: usize = 512;

/// Knows where our mount is.
pub(crate) struct Walker {
    mountpoint: PathBuf,
    resolve: Resolve,
    place: Place,
}

/// A file or directory that a path led to.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path without symbolic links, as the job sees it.
    pub(crate) path: PathBuf,
    /// It lies below our mount point; what is open is the backing file.
    pub(crate) inside: bool,
    fd: OwnedFd,
    kind: FileType,
}

impl Found {
    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Opens it for reading as whoever this thread is, and tells what it is now. Refuses everything but files and directories: a device
    /// or a pipe does things when it is opened.
    pub(crate) fn open(&self) -> io::Result<(File, FileIdentity)> {
        if !self.is_file() && !self.is_dir() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let own = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = rustix::fs::open(
            own,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
            Mode::empty(),
        )?;
        let stat = statx(
            &fd,
            "",
            AtFlags::EMPTY_PATH,
            StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        )?;
        Ok((File::from(fd), identity(&stat)))
    }

    /// Names in a directory, at most `max`; nothing when it is none.
    pub(crate) fn names(&self, max: usize) -> Vec<Vec<u8>> {
        let Ok((dir, _)) = self.open() else {
            return Vec::new();
        };
        rustix::fs::Dir::new(dir)
            .map(|d| {
                d.flatten()
                    .map(|e| e.file_name().to_bytes().to_vec())
                    .filter(|n| n != b"." && n != b"..")
                    .take(max)
                    .collect()
            })
            .unwrap_or_default()
    }
}

/// A step of the way: an open directory and its name.
struct Step {
    fd: OwnedFd,
    name: Vec<u8>,
}

impl Walker {
    pub(crate) fn new(mountpoint: &Path, resolve: Resolve, place: Place) -> Self {
        Self {
            mountpoint: mountpoint.to_owned(),
            resolve,
            place,
        }
    }

    /// Follows an absolute path from `root`, the way the kernel would, but for our own mount.
    ///
    /// O_PATH descriptors and cached attributes alone are used on the way: crossing into a mount by its root sends it no request, but one
    /// step further from there does. A process may begin there (chroot(2), containers).
    pub(crate) fn find(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Found> {
        if !path.is_absolute() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ours = device_of(&self.mountpoint);
        let mut left = parts(path);
        let begin = looked_at(root)?;
        if ours.is_some_and(|o| o == device(&begin)) {
            return self.inside(Vec::new(), begin.stx_ino, left);
        }
        let mut steps = vec![Step {
            fd: root.try_clone_to_owned()?,
            name: Vec::new(),
        }];
        let mut links = 0;
        let mut kind = FileType::Directory;
        while let Some(part) = left.pop() {
            if left.len() + steps.len() > MAX_PARTS {
                return Err(Errno::NAMETOOLONG.into());
            }
            if part == b".." {
                if steps.len() > 1 {
                    steps.pop();
                }
                kind = FileType::Directory;
                continue;
            }
            let Some(here) = steps.last() else { break };
            let fd = openat(
                &here.fd,
                part.as_slice(),
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let stat = looked_at(fd.as_fd())?;
            if ours.is_some_and(|o| o == device(&stat)) {
                let begins = steps.iter().skip(1).map(|s| s.name.clone()).chain([part]);
                return self.inside(begins.collect(), stat.stx_ino, left);
            }
            kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
            if kind == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(&fd, "", Vec::new())?.into_bytes();
                let target = Path::new(std::ffi::OsStr::from_bytes(&target));
                if target.is_absolute() {
                    steps.truncate(1);
                }
                left.extend(parts(target));
                kind = FileType::Directory;
                continue;
            }
            steps.push(Step { fd, name: part });
        }
        let path = joined(steps.iter().skip(1).map(|s| s.name.as_slice()));
        let last = steps.pop().ok_or(Errno::NOENT)?;
        Ok(Found {
            path,
            inside: false,
            fd: last.fd,
            kind,
        })
    }

    /// The rest of a path that led into our mount, to this inode: on the backing side.
    fn inside(&self, begins: Vec<Vec<u8>>, ino: u64, left: Vec<Vec<u8>>) -> io::Result<Found> {
        // A bind mount, and a process' root, show a part of the mount only.
        let part = (self.place)(ino).ok_or(Errno::XDEV)?;
        let mut below: Vec<Vec<u8>> = Vec::new();
        for part in left.into_iter().rev() {
            if part == b".." {
                // Out of the mount again: not worth following.
                below.pop().ok_or(Errno::XDEV)?;
            } else {
                below.push(part);
            }
        }
        let relative = part.join(
            joined(below.iter().map(Vec::as_slice))
                .strip_prefix("/")
                .unwrap_or(Path::new("")),
        );
        let file = (self.resolve)(&relative).ok_or(Errno::NOENT)?;
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        Ok(Found {
            path: joined(begins.iter().chain(&below).map(Vec::as_slice)),
            inside: true,
            fd: file.into(),
            kind: FileType::from_raw_mode(u32::from(stat.stx_mode)),
        })
    }
}

/// Components in reverse, so that the next is at the end.
fn parts(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::ParentDir => Some(b"..".to_vec()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn joined<'a>(names: impl Iterator<Item = &'a [u8]>) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(names.map(|n| Path::new(std::ffi::OsStr::from_bytes(n))));
    path
}

type Device = (u32, u32);

fn device(stat: &Statx) -> Device {
    (stat.stx_dev_major, stat.stx_dev_minor)
}

/// What the kernel remembers of what is open here, without asking its filesystem.
fn looked_at(fd: BorrowedFd<'_>) -> io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    Ok(statx(fd, "", flags, StatxFlags::BASIC_STATS)?)
}

/// Our mount's device, as /proc/self/mountinfo has it: the same in every mount namespace.
fn device_of(mountpoint: &Path) -> Option<Device> {
    topmost(&std::fs::read("/proc/self/mountinfo").ok()?, mountpoint)
}

/// proc_pid_mountinfo(5): `id parent major:minor root mountpoint ...`. The last mount at a place covers the others; without a mount of
/// ours the place belongs to the filesystem around it.
fn topmost(mountinfo: &[u8], mountpoint: &Path) -> Option<Device> {
    let mounts = mountinfo.split(|b| *b == b'\n').filter_map(|line| {
        let mut words = line.split(|b| *b == b' ');
        let (major, minor) = std::str::from_utf8(words.nth(2)?).ok()?.split_once(':')?;
        let at = unescape(words.nth(1)?);
        Some((at, (major.parse().ok()?, minor.parse().ok()?)))
    });
    let mut there = mounts.filter(|(at, _)| at == mountpoint.as_os_str().as_bytes());
    Some(there.next_back()?.1)
}

/// Blanks, tabs, newlines and backslashes stand as `\ooo` there.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let octal = |d: &[u8]| {
            d.iter().try_fold(0u8, |n, b| {
                matches!(b, b'0'..=b'7').then(|| n.checked_mul(8)?.checked_add(b - b'0'))?
            })
        };
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
