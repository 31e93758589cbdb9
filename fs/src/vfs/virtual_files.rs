//! `.atlas` at the root of the mount: reachable, never listed, made of nothing that the store has. What the files say is the observer's business.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use rustix::fs::FileType;

use super::attr::{Attr, Changes, Shown, Time};
use super::core::{TTL, Vfs};
use super::dir::Entry;
use super::handle::{Open, bad_handle};
use super::inode::{NodeId, ROOT, VIRTUAL};
use super::observer::{Caller, FileKey, HandleId};
use super::xattr::no_data;

/// The directory's name.
pub(crate) const DIRECTORY: &str = ".atlas";

const TOP: NodeId = NodeId(VIRTUAL);
const BY_DIGEST: NodeId = NodeId(VIRTUAL + 1);
/// The files that are always there, with their numbers.
const FILES: [(&str, NodeId, u16); 4] = [
    ("status", NodeId(VIRTUAL + 2), 0o444),
    ("metrics", NodeId(VIRTUAL + 3), 0o444),
    ("sync", NodeId(VIRTUAL + 4), 0o444),
    ("mark", NodeId(VIRTUAL + 5), 0o666),
];
const LOG: NodeId = NodeId(VIRTUAL + 6);
const FIRST_FREE: u64 = VIRTUAL + 16;

/// Files below `by-digest` and `log` that the kernel knows.
#[derive(Debug)]
pub(crate) struct VirtualNodes {
    names: DashMap<u64, (PathBuf, u64)>,
    next: AtomicU64,
}

/// An open virtual file: what it said when it was opened.
#[derive(Debug)]
pub(crate) struct VirtualHandle {
    name: PathBuf,
    content: Vec<u8>,
}

impl VirtualHandle {
    /// A part of the snapshot made at OPEN.
    pub(crate) fn read(&self, offset: u64, size: usize, buffer: &mut Vec<u8>) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.content.get(start..).unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(&rest[..rest.len().min(size)]);
    }
}

/// Where a name in a virtual directory leads.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Shown),
    Nothing,
    /// The observer knows, off the FUSE threads.
    Ask(PathBuf),
}

impl VirtualNodes {
    pub(crate) fn new() -> Self {
        Self {
            names: DashMap::new(),
            next: AtomicU64::new(FIRST_FREE),
        }
    }

    /// Takes back lookups.
    pub(crate) fn forget(&self, id: NodeId, count: u64) {
        if !is_virtual(id) {
            return;
        }
        self.names.remove_if_mut(&id.0, |_, (_, lookups)| {
            *lookups = lookups.saturating_sub(count);
            *lookups == 0
        });
    }

    fn enter(&self, name: PathBuf) -> NodeId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.names.insert(id, (name, 1));
        NodeId(id)
    }

    fn name(&self, id: NodeId) -> Option<PathBuf> {
        if let Some((name, ..)) = FILES.iter().find(|f| f.1 == id) {
            return Some(PathBuf::from(name));
        }
        self.names.get(&id.0).map(|n| n.0.clone())
    }
}

/// True for inodes of this module.
pub(crate) fn is_virtual(id: NodeId) -> bool {
    id.0 >= VIRTUAL
}

/// True for the one way in.
pub(crate) fn is_door(parent: NodeId, name: &OsStr) -> bool {
    parent == ROOT && name == DIRECTORY
}

fn no_entry() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

impl Vfs {
    /// LOOKUP of `.atlas` itself or of something below it.
    pub(crate) fn virtual_lookup(&self, parent: NodeId, name: &OsStr) -> Found {
        match parent {
            ROOT => Found::Here(show(TOP)),
            TOP if name == "by-digest" => Found::Here(show(BY_DIGEST)),
            TOP if name == "log" => Found::Here(show(LOG)),
            TOP => match FILES.iter().find(|f| name == f.0) {
                Some((_, id, _)) => Found::Here(show(*id)),
                None => Found::Nothing,
            },
            BY_DIGEST => Found::Ask(Path::new("by-digest").join(name)),
            LOG => Found::Ask(Path::new("log").join(name)),
            _ => Found::Nothing,
        }
    }

    /// What a file says now, on a worker thread.
    pub(crate) fn virtual_content(&self, name: &Path, caller: Caller) -> io::Result<Vec<u8>> {
        match self.observer()?.virtual_file(name, caller) {
            Some(content) => Ok(content?),
            None => Err(no_entry()),
        }
    }

    /// A virtual attribute of a regular file, on a worker thread.
    pub(crate) fn virtual_attribute(
        &self,
        file: FileKey,
        name: &OsStr,
        caller: Caller,
    ) -> io::Result<Vec<u8>> {
        match self.observer()?.attribute(file, name.as_bytes(), caller) {
            Some(value) => Ok(value?),
            None => Err(no_data()),
        }
    }

    /// What the kernel is told once the observer has said that the file exists.
    pub(crate) fn virtual_found(&self, name: PathBuf) -> Shown {
        show(self.virtuals.enter(name))
    }

    /// GETATTR.
    pub(crate) fn virtual_attr(&self, id: NodeId) -> io::Result<Shown> {
        if is_dir(id) || self.virtuals.name(id).is_some() {
            Ok(show(id))
        } else {
            Err(no_entry())
        }
    }

    /// SETATTR: `echo label > mark` truncates first; nothing else can be changed.
    pub(crate) fn virtual_change(&self, id: NodeId, changes: &Changes) -> io::Result<Shown> {
        let harmless = changes.mode.is_none() && changes.uid.is_none() && changes.gid.is_none();
        if harmless && changes.size.is_some() {
            return self.virtual_attr(id);
        }
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    /// The name of a virtual file below `.atlas`, to ask the observer for.
    pub(crate) fn virtual_name(&self, id: NodeId) -> io::Result<PathBuf> {
        if is_dir(id) {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        self.virtuals.name(id).ok_or_else(no_entry)
    }

    /// OPEN, with what the file says now.
    pub(crate) fn virtual_open(&self, name: PathBuf, content: Vec<u8>) -> HandleId {
        let id = self.handles.next();
        let open = Open::Virtual(Arc::new(VirtualHandle { name, content }));
        self.handles.insert(id, open);
        id
    }

    /// WRITE, on a worker thread.
    pub(crate) fn virtual_write(
        &self,
        id: HandleId,
        bytes: &[u8],
        caller: Caller,
    ) -> io::Result<usize> {
        let handle = self.virtual_handle(id)?;
        let done = self.observer()?.virtual_write(&handle.name, bytes, caller);
        done.map(|()| bytes.len()).map_err(io::Error::from)
    }

    fn virtual_handle(&self, id: HandleId) -> io::Result<Arc<VirtualHandle>> {
        match self.handles.any(id)? {
            Open::Virtual(handle) => Ok(handle),
            _ => Err(bad_handle()),
        }
    }
}

/// Entries of a virtual directory after a position.
pub(crate) fn read(id: NodeId, position: u64) -> impl Iterator<Item = (Entry, Shown)> {
    let all = entries(id).into_iter().zip(1..);
    let rest = all.skip(usize::try_from(position).unwrap_or(usize::MAX));
    rest.map(|((name, shown), next)| {
        let entry = Entry {
            ino: shown.ino,
            kind: shown.attr.kind,
            next,
            name: name.into(),
        };
        (entry, shown)
    })
}

/// What a virtual directory lists. `by-digest` lists nothing: it would be every manifest there is; nor does `log`.
fn entries(id: NodeId) -> Vec<(&'static str, Shown)> {
    let mut all = vec![(".", show(id)), ("..", show(TOP))];
    if id == TOP {
        all.push(("by-digest", show(BY_DIGEST)));
        all.push(("log", show(LOG)));
        all.extend(FILES.map(|(name, id, _)| (name, show(id))));
    }
    all
}

fn is_dir(id: NodeId) -> bool {
    id == TOP || id == BY_DIGEST || id == LOG
}

fn show(id: NodeId) -> Shown {
    let (kind, perm, nlink) = if is_dir(id) {
        (FileType::Directory, 0o555, 2)
    } else {
        let known = FILES.iter().find(|f| f.1 == id);
        (FileType::RegularFile, known.map_or(0o444, |f| f.2), 1)
    };
    let never = Time { sec: 0, nsec: 0 };
    Shown {
        id,
        ino: id.0,
        generation: 0,
        attr: Attr {
            key: FileKey {
                dev: 0,
                ino: id.0,
                born: 0,
            },
            kind,
            perm,
            nlink,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_names_leave_nothing_behind() {
        let nodes = VirtualNodes::new();
        let id = nodes.enter(PathBuf::from("by-digest/x"));
        assert!(nodes.name(id).is_some());
        nodes.forget(id, 1);
        assert!(nodes.name(id).is_none());
        assert!(nodes.names.is_empty());
    }
}
