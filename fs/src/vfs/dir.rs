//! Reading directories, with the store's own positions, so that order, seekdir and inode numbers are the store's.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom};

use super::attr::{Attr, Shown, Time};
use super::core::{TTL, Vfs};
use super::handle::Open;
use super::inode::{Node, NodeId, lock, open_path};
use super::observer::{FileKey, HandleId};
use super::virtual_files::{self, is_virtual};
use crate::descriptors::Own;

/// Bytes of entries read from the store at a time.
const BUFFER: usize = 32 * 1024;

/// An open directory.
#[derive(Debug)]
pub(crate) struct DirHandle {
    node: Arc<Node>,
    fd: Own,
    state: Mutex<Reading>,
}

/// Entries read from the store and not yet given to the kernel.
#[derive(Debug, Default)]
struct Reading {
    entries: VecDeque<Entry>,
    /// The position of the first of them.
    at: u64,
}

/// One directory entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ino: u64,
    pub(crate) kind: FileType,
    /// The position after it.
    pub(crate) next: u64,
    pub(crate) name: OsString,
}

impl Vfs {
    /// OPENDIR.
    pub(crate) fn opendir(&self, id: NodeId) -> io::Result<HandleId> {
        if is_virtual(id) {
            return Ok(HandleId(0));
        }
        let node = self.inodes.node(id)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lent = self.descriptors.lend()?;
        let fd = rustix::fs::openat(&*self.inodes.fd(&node)?, ".", flags, Mode::empty())?;
        let handle = self.handles.next();
        let dir = DirHandle {
            node,
            fd: lent.own(fd),
            state: Mutex::default(),
        };
        self.handles.insert(handle, Open::Dir(Arc::new(dir)));
        Ok(handle)
    }

    /// READDIR from a position: `add` takes entries until it says that it is full.
    pub(crate) fn readdir(
        &self,
        (node, id): (NodeId, HandleId),
        position: u64,
        mut add: impl FnMut(&Entry) -> bool,
    ) -> io::Result<()> {
        if is_virtual(node) {
            let _full = virtual_files::read(node, position).any(|(entry, _)| add(&entry));
            return Ok(());
        }
        let dir = self.handles.dir(id)?;
        let mut reading = lock(&dir.state);
        if position != reading.at || position == 0 {
            reading.entries.clear();
            rustix::fs::seek(&dir.fd, SeekFrom::Start(position))?;
            reading.at = position;
        }
        loop {
            while let Some(entry) = reading.entries.front() {
                if !self.is_hidden(&dir.node, &entry.name) && add(entry) {
                    return Ok(());
                }
                reading.at = entry.next;
                reading.entries.pop_front();
            }
            reading.entries = self.more(&dir)?;
            if reading.entries.is_empty() {
                return Ok(());
            }
        }
    }

    /// READDIRPLUS: the same, with attributes, each entry counted as a lookup.
    pub(crate) fn readdirplus(
        &self,
        (node, id): (NodeId, HandleId),
        position: u64,
        mut add: impl FnMut(&Entry, &Shown) -> bool,
    ) -> io::Result<()> {
        if is_virtual(node) {
            let _full =
                virtual_files::read(node, position).any(|(entry, shown)| add(&entry, &shown));
            return Ok(());
        }
        let dir = self.handles.dir(id)?;
        self.readdir((node, id), position, |entry| {
            if entry.name == "." || entry.name == ".." {
                return add(entry, &dots(entry));
            }
            let _looking = self.moves.looking();
            let Ok(fd) = open_path(&dir.fd, &entry.name) else {
                return false; // It went away meanwhile.
            };
            let Ok(stat) = self.inodes.stat(&fd) else {
                return false;
            };
            let node = self.inodes.enter(dir.node.id, &entry.name, fd, &stat);
            let full = add(entry, &self.shown(&node, stat));
            if full {
                self.inodes.forget(node.id, 1);
            }
            full
        })
    }

    fn more(&self, dir: &DirHandle) -> io::Result<VecDeque<Entry>> {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); BUFFER];
        let mut raw = RawDir::new(&dir.fd, &mut buffer);
        let mut entries = VecDeque::new();
        while let Some(entry) = raw.next() {
            let entry = entry?;
            entries.push_back(Entry {
                ino: self.inodes.numbers.entry(dir.node.key.dev, entry.ino()),
                kind: entry.file_type(),
                next: entry.next_entry_cookie(),
                name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            });
            if raw.is_buffer_empty() {
                break;
            }
        }
        Ok(entries)
    }

    /// FSYNCDIR.
    pub(crate) fn fsyncdir(&self, id: HandleId) -> io::Result<()> {
        match self.handles.dir(id) {
            Ok(dir) => Ok(rustix::fs::fsync(&dir.fd)?),
            // A virtual directory has no handle of its own.
            Err(_) => Ok(()),
        }
    }
}

/// "." and ".." are never looked up: the kernel takes number and kind and leaves the rest.
fn dots(entry: &Entry) -> Shown {
    let never = Time { sec: 0, nsec: 0 };
    Shown {
        id: NodeId(entry.ino),
        ino: entry.ino,
        generation: 0,
        attr: Attr {
            key: FileKey {
                dev: 0,
                ino: entry.ino,
                born: 0,
            },
            kind: FileType::Directory,
            perm: 0,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            blksize: 4096,
            atime: never,
            mtime: never,
            ctime: never,
        },
        ttl: TTL,
    }
}
