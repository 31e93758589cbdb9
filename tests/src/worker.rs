//! What a worker of the model test does: one operation, given as a line of words, on one tree. Not which operations: see
//! `tests/model/`.
//!
//! A worker holds the same slots of open files in each of its trees, so that one line has one meaning in all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom, Timespec,
    Timestamps, XattrFlags,
};
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

/// One tree, and the files that the worker has open in it.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    slots: BTreeMap<u32, OwnedFd>,
}

/// What an operation said, and how the file that it was about looks after it.
#[derive(Debug)]
pub struct Said {
    /// `ok ...` or `E` and the number of the error.
    pub result: String,
    /// `inode mtime ctime fd path-of-fd`, or nothing; differs between trees.
    pub file: String,
}

/// The words of a line.
struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> &'a str {
        self.0.next().expect("the line has all its words")
    }

    fn number<T: std::str::FromStr>(&mut self) -> T {
        let word = self.word();
        word.parse()
            .unwrap_or_else(|_| panic!("{word:?} is a number"))
    }
}

/// Bytes that no other seed gives.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    crate::files::noise(seed, len)
}

impl Tree {
    /// The tree below `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            slots: BTreeMap::new(),
        }
    }

    /// Executes a line.
    pub fn execute(&mut self, line: &str) -> Said {
        let mut words = Words(line.split_ascii_whitespace());
        let verb = words.word();
        let mut about = None;
        let result = match self.step(verb, &mut words, &mut about) {
            Ok(text) => format!("ok {text}"),
            Err(e) => format!("E{}", e.raw_os_error().unwrap_or(0)),
        };
        let file = about.and_then(|about| self.file(&about).ok());
        Said {
            result,
            file: file.unwrap_or_default(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn fd(&self, slot: u32) -> io::Result<&OwnedFd> {
        let fd = self.slots.get(&slot);
        fd.ok_or_else(|| io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()))
    }

    fn file(&self, about: &About) -> io::Result<String> {
        let (meta, fd) = match about {
            About::Slot(slot) => {
                let fd = self.fd(*slot)?;
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                (fs::metadata(path)?, fd.as_raw_fd())
            }
            About::Path(path) => (fs::metadata(self.at(path))?, -1),
            About::Name(path) => (fs::symlink_metadata(self.at(path))?, -1),
        };
        let time = |sec: i64, nsec: i64| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
        let (m, c) = (
            time(meta.mtime(), meta.mtime_nsec()),
            time(meta.ctime(), meta.ctime_nsec()),
        );
        let kind = meta.file_type();
        let kind = if kind.is_file() {
            'f'
        } else if kind.is_dir() {
            'd'
        } else if kind.is_fifo() {
            'p'
        } else {
            'l'
        };
        // Directories have the sizes that their stores like.
        let size = if kind == 'd' { 0 } else { meta.size() };
        let nlink = if kind == 'd' { 0 } else { meta.nlink() };
        Ok(format!(
            "{} {m} {c} {fd} | {kind} {:o} {nlink} {size} {} {}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.gid()
        ))
    }

    fn step(
        &mut self,
        verb: &str,
        w: &mut Words<'_>,
        about: &mut Option<About>,
    ) -> io::Result<String> {
        match verb {
            "open" => {
                let (slot, path, flags, mode) = (w.number(), w.word(), w.number(), w.number());
                let flags = OFlags::from_bits_retain(flags) | OFlags::CLOEXEC;
                let fd = rustix::fs::open(self.at(path), flags, Mode::from_raw_mode(mode))?;
                self.slots.insert(slot, fd);
                *about = Some(About::Slot(slot));
                Ok(String::new())
            }
            "close" => {
                self.slots.remove(&w.number());
                Ok(String::new())
            }
            "read" | "pread" | "write" | "pwrite" | "ftruncate" | "fallocate" | "mapwrite"
            | "mapread" | "fsync" | "flock" | "seek" | "dupwrite" => {
                let slot = w.number();
                *about = Some(About::Slot(slot));
                self.on_file(verb, slot, w)
            }
            "copy" | "sendfile" => {
                let (from, at, to, to_at, len): (u32, u64, u32, u64, usize) =
                    (w.number(), w.number(), w.number(), w.number(), w.number());
                *about = Some(About::Slot(to));
                let (from, to) = (self.fd(from)?, self.fd(to)?);
                let (mut at, mut to_at) = (at, to_at);
                let n = if verb == "copy" {
                    rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), len)?
                } else {
                    rustix::fs::seek(to, SeekFrom::Start(to_at))?;
                    rustix::fs::sendfile(to, from, Some(&mut at), len)?
                };
                Ok(n.to_string())
            }
            _ => self.on_name(verb, w, about),
        }
    }

    fn on_file(&self, verb: &str, slot: u32, w: &mut Words<'_>) -> io::Result<String> {
        let fd = self.fd(slot)?;
        Ok(match verb {
            "read" | "pread" => {
                let (at, len): (u64, usize) = (w.number(), w.number());
                let mut buffer = vec![0; len];
                let n = if verb == "read" {
                    rustix::io::read(fd, &mut buffer[..])?
                } else {
                    rustix::io::pread(fd, &mut buffer[..], at)?
                };
                sum(&buffer[..n])
            }
            "write" | "pwrite" => {
                let (at, len, seed) = (w.number(), w.number(), w.number());
                let buffer = bytes(seed, len);
                let n = if verb == "write" {
                    rustix::io::write(fd, &buffer)?
                } else {
                    rustix::io::pwrite(fd, &buffer, at)?
                };
                n.to_string()
            }
            // Through a copy of the descriptor, which is closed before the other.
            "dupwrite" => {
                let (at, len, seed) = (w.number(), w.number(), w.number());
                let copy = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
                let n = rustix::io::pwrite(&copy, &bytes(seed, len), at)?;
                drop(copy);
                let m = rustix::io::pwrite(fd, &bytes(seed + 1, len), at + 7)?;
                format!("{n} {m}")
            }
            "ftruncate" => {
                rustix::fs::ftruncate(fd, w.number())?;
                String::new()
            }
            "fallocate" => {
                let (mode, at, len) = (w.number(), w.number(), w.number());
                rustix::fs::fallocate(fd, FallocateFlags::from_bits_retain(mode), at, len)?;
                String::new()
            }
            "mapread" => {
                let map = Map::new(fd, w.number(), ProtFlags::READ)?;
                sum(map.bytes())
            }
            "mapwrite" => {
                let (len, at, seed): (usize, usize, u64) = (w.number(), w.number(), w.number());
                let mut map = Map::new(fd, len, ProtFlags::READ | ProtFlags::WRITE)?;
                let new = bytes(seed, (len - at).min(300));
                map.bytes_mut()[at..at + new.len()].copy_from_slice(&new);
                map.sync()?;
                String::new()
            }
            "fsync" => {
                rustix::fs::fsync(fd)?;
                String::new()
            }
            "flock" => {
                let how = match w.number() {
                    0 => FlockOperation::Unlock,
                    1 => FlockOperation::NonBlockingLockShared,
                    _ => FlockOperation::NonBlockingLockExclusive,
                };
                rustix::fs::flock(fd, how)?;
                String::new()
            }
            _ => {
                let (whence, at): (u32, i64) = (w.number(), w.number());
                // What an offset in a directory means is every store's own affair.
                let kind = rustix::fs::fstat(fd)?.st_mode;
                if rustix::fs::FileType::from_raw_mode(kind).is_dir() {
                    return Ok("of a directory".to_owned());
                }
                let to = u64::try_from(at).unwrap_or(0);
                let to = match whence {
                    0 => SeekFrom::Start(to),
                    1 => SeekFrom::Current(at),
                    2 => SeekFrom::End(at),
                    3 => SeekFrom::Data(to),
                    _ => SeekFrom::Hole(to),
                };
                let found = rustix::fs::seek(fd, to)?.to_string();
                if whence > 2 {
                    // Stores may see other holes: the next write shall be at the same place all the same.
                    rustix::fs::seek(fd, SeekFrom::Start(0))?;
                }
                found
            }
        })
    }

    fn on_name(
        &self,
        verb: &str,
        w: &mut Words<'_>,
        about: &mut Option<About>,
    ) -> io::Result<String> {
        let name = w.word();
        let path = self.at(name);
        *about = Some(About::Name(name.to_owned()));
        match verb {
            "truncate" => {
                *about = Some(About::Path(name.to_owned()));
                let to = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(
                    path.as_os_str(),
                ))?;
                truncate(&to, w.number())?;
            }
            "rename" => {
                let to = w.word();
                let flags = RenameFlags::from_bits_retain(w.number());
                rustix::fs::renameat_with(CWD, path, CWD, self.at(to), flags)?;
                *about = Some(About::Name(to.to_owned()));
            }
            "link" => {
                let to = w.word();
                rustix::fs::linkat(CWD, path, CWD, self.at(to), AtFlags::empty())?;
                *about = Some(About::Name(to.to_owned()));
            }
            "symlink" => rustix::fs::symlink(w.word(), path)?,
            "unlink" => rustix::fs::unlink(path)?,
            "mkdir" => rustix::fs::mkdir(path, Mode::from_raw_mode(w.number()))?,
            "rmdir" => rustix::fs::rmdir(path)?,
            "chmod" => {
                *about = Some(About::Path(name.to_owned()));
                rustix::fs::chmod(path, Mode::from_raw_mode(w.number()))?;
            }
            "chown" => {
                let (uid, gid) = (w.number(), w.number());
                rustix::fs::chownat(
                    CWD,
                    path,
                    Some(rustix::fs::Uid::from_raw(uid)),
                    Some(rustix::fs::Gid::from_raw(gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            "utimens" => {
                let (sec, nsec) = (w.number(), w.number());
                let at = Timespec {
                    tv_sec: sec,
                    tv_nsec: nsec,
                };
                let times = Timestamps {
                    last_access: at,
                    last_modification: at,
                };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
                let meta = fs::symlink_metadata(&path)?;
                return Ok(format!("{} {}", meta.mtime(), meta.mtime_nsec()));
            }
            "setxattr" => {
                let (which, seed, flags) = (w.word(), w.number(), w.number());
                let flags = XattrFlags::from_bits_retain(flags);
                rustix::fs::lsetxattr(path, which, &bytes(seed, 40), flags)?;
            }
            "getxattr" => {
                let mut value = vec![0; 256];
                let n = rustix::fs::lgetxattr(path, w.word(), &mut value[..])?;
                return Ok(sum(&value[..n]));
            }
            "listxattr" => {
                let mut value = vec![0; 4096];
                let n = rustix::fs::llistxattr(path, &mut value[..])?;
                return Ok(format!("{n} {}", sum(&value[..n])));
            }
            "removexattr" => rustix::fs::lremovexattr(path, w.word())?,
            "stat" => {
                fs::symlink_metadata(path)?;
            }
            "readlink" => {
                let to = fs::read_link(path)?;
                return Ok(to.display().to_string());
            }
            "statfs" => {
                let s = rustix::fs::statvfs(path)?;
                return Ok(format!("{} {} {}", s.f_bsize, s.f_blocks, s.f_namemax));
            }
            "readdir" => return list(&path),
            "tmpfile" => {
                *about = None;
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::RUSR)?;
            }
            other => panic!("nobody knows how to {other}"),
        }
        Ok(String::new())
    }
}

/// What the state after an operation is looked up by.
#[derive(Debug)]
enum About {
    Slot(u32),
    /// Following a symlink.
    Path(String),
    Name(String),
}

/// A shared mapping of the first bytes of a file.
struct Map {
    at: *mut u8,
    len: usize,
}

impl Map {
    fn new(fd: impl AsFd, len: usize, how: ProtFlags) -> io::Result<Self> {
        // Beyond the end of the file a map gives SIGBUS.
        let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        if size < len {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::NXIO.raw_os_error(),
            ));
        }
        // SAFETY: the kernel chooses the place; nothing else knows it.
        let at =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, how, MapFlags::SHARED, fd, 0) }?;
        Ok(Self { at: at.cast(), len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped in `new` with this length, and not longer than the file; nobody truncates while a line is executed.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; only called for writable maps.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly what was mapped.
        Ok(unsafe { rustix::mm::msync(self.at.cast(), self.len, MsyncFlags::SYNC) }?)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.len) };
    }
}

/// truncate(2), which is another request than open, ftruncate and close.
fn truncate(path: &std::ffi::CStr, len: i64) -> io::Result<()> {
    // SAFETY: a valid C string, and no other pointer.
    match unsafe { libc::truncate(path.as_ptr(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Length and sum of bytes: enough to tell two contents apart in a test.
fn sum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |s, b| {
        (s ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{} {sum:x}", bytes.len())
}

fn list(dir: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let same = fs::symlink_metadata(entry.path()).map(|m| m.ino());
        let agrees = same.is_ok_and(|ino| ino == std::os::unix::fs::DirEntryExt::ino(&entry));
        names.push(format!("{}:{agrees}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let _ = write!(text, "{name} ");
    }
    Ok(text)
}
