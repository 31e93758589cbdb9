//! The inodes the kernel knows: their identity, their last known names, and how to reach them again. Not the open files.
//!
//! There may be far more of them than descriptors. A fresh inode is held by an O_PATH descriptor; when more are held than there are for them, the ones
//! longest unused are turned into file handles of the store, which cost no descriptor and survive renames. Where the store or the user has no
//! such handles (or for filesystems mounted below SOURCE) descriptors stay until the limit, and then the inode is found by its name again,
//! which only counts if device, inode number and birth time still agree.
//!
//! An inode without a name is held until the kernel forgets it, which it does with its last user. Were it let go earlier, the store could give its
//! number to a new file while somebody is about to open the old one: for the kernel both are one inode, and it fails the older (EIO).

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rustix::fs::{FileType, FsWord, Mode, OFlags};

use super::attr::{self, Attr};
use super::handle::Opens;
use super::number::Numbers;
pub(crate) use super::number::{NodeId, ROOT, VIRTUAL};
use super::observer::FileKey;
use super::probe::FUSE_MAGIC;
use super::sys::{self, StoreHandle};
use crate::descriptors;

/// SOURCE's own device in keys and identities, which outlive a reboot: most filesystems then have another number.
const HOME: u64 = 0;

/// More names than these of one inode are not remembered.
const NAMES: usize = 8;

/// Files remembered that the kernel does not know: opened and forgotten, or found by the daemon itself.
const FORGOTTEN: usize = 65_536;

/// A path deeper than the kernel itself can name is cut off.
const DEPTH: usize = 4096;

/// One inode that the kernel knows.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) key: FileKey,
    pub(crate) kind: FileType,
    /// Tells the kernel that a number now means another inode.
    pub(crate) generation: u64,
    /// Open state; its lock is held across open_backing, so that all opens of an inode agree on their mode.
    pub(crate) opens: Mutex<Opens>,
    /// Changed only while the table's shard is locked.
    lookups: AtomicU64,
    /// Directory and name, newest last.
    names: Mutex<Vec<(NodeId, OsString)>>,
    anchor: Mutex<Anchor>,
    touched: AtomicBool,
    /// Its last name was taken away.
    removed: AtomicBool,
    /// Was ever opened: its content may be asked for after the kernel has forgotten it.
    pub(crate) opened: AtomicBool,
}

#[derive(Debug, Default)]
struct Anchor {
    fd: Option<Arc<OwnedFd>>,
    handle: Option<StoreHandle>,
}

/// All inodes the kernel knows.
#[derive(Debug)]
pub(crate) struct Inodes {
    nodes: DashMap<u64, Arc<Node>>,
    root: Arc<Node>,
    root_fd: Arc<OwnedFd>,
    /// An ordinary descriptor of SOURCE: `open_by_handle_at` refuses O_PATH ones.
    mount: OwnedFd,
    handles: bool,
    /// What statfs(2) says of SOURCE.
    kind: FsWord,
    /// The device number of SOURCE, for as long as it stays mounted.
    home: u64,
    pub(crate) numbers: Numbers,
    held: Mutex<VecDeque<Weak<Node>>>,
    forgotten: Mutex<Forgotten>,
}

/// Files that were opened or found and that the kernel does not know, oldest first.
#[derive(Debug, Default)]
struct Forgotten {
    nodes: HashMap<FileKey, Arc<Node>>,
    order: VecDeque<FileKey>,
}

/// A poisoned lock still guards plain data that every writer leaves whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inodes {
    /// A table over the opened SOURCE.
    pub(crate) fn new(source: OwnedFd) -> io::Result<Self> {
        let mount = rustix::fs::openat(
            &source,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut stat = attr::stat(&source)?;
        let home = std::mem::replace(&mut stat.key.dev, HOME);
        // A FUSE store makes handles, but only finds those again that its own kernel side still caches.
        let kind = rustix::fs::fstatfs(&mount)?.f_type;
        let handles = kind != FUSE_MAGIC
            && sys::name_to_handle(&source)
                .and_then(|h| sys::open_handle(&mount, &h))
                .is_ok();
        let root_fd = Arc::new(source);
        let root = Arc::new(Node::new(ROOT, &stat, 0, 1, Arc::clone(&root_fd)));
        let nodes = DashMap::new();
        nodes.insert(ROOT.0, Arc::clone(&root));
        Ok(Self {
            nodes,
            root,
            root_fd,
            mount,
            handles,
            kind,
            home,
            numbers: Numbers::new(stat.key),
            held: Mutex::new(VecDeque::new()),
            forgotten: Mutex::new(Forgotten::default()),
        })
    }

    /// What is known of an open inode (O_PATH suffices).
    pub(crate) fn stat(&self, fd: impl AsFd) -> io::Result<Attr> {
        Ok(self.at_home(attr::stat(fd)?))
    }

    /// What is known of a name in a directory, of the name itself if it is a symlink.
    pub(crate) fn stat_at(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<Attr> {
        Ok(self.at_home(attr::stat_at(dir, name)?))
    }

    fn at_home(&self, mut stat: Attr) -> Attr {
        if stat.key.dev == self.home {
            stat.key.dev = HOME;
        }
        stat
    }

    pub(crate) fn root_fd(&self) -> &Arc<OwnedFd> {
        &self.root_fd
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Descriptors held, give or take inodes forgotten since.
    pub(crate) fn held(&self) -> usize {
        lock(&self.held).len()
    }

    /// ESTALE for a number the kernel should not know; EPERM for one that the store does not have, where nothing can be changed.
    pub(crate) fn node(&self, id: NodeId) -> io::Result<Arc<Node>> {
        if id.0 >= VIRTUAL {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        if id == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let found = self.nodes.get(&id.0).map(|n| Arc::clone(&n));
        found.ok_or_else(stale)
    }

    /// The node of a backing inode: one the kernel knows, or a file that was opened before the kernel forgot it, or that was `found`.
    pub(crate) fn by_key(&self, key: FileKey) -> Option<Arc<Node>> {
        let known = self.node(self.numbers.id_of(key)).ok();
        known
            .filter(|node| node.key == key)
            .or_else(|| lock(&self.forgotten).nodes.get(&key).cloned())
    }

    /// Counts one lookup of the inode behind `fd`, which was found as `name` in `parent`.
    pub(crate) fn enter(
        &self,
        parent: NodeId,
        name: &OsStr,
        fd: OwnedFd,
        stat: &Attr,
    ) -> Arc<Node> {
        let id = self.numbers.id_of(stat.key);
        let mut fresh = false;
        let node = match self.nodes.entry(id.0) {
            Entry::Occupied(mut slot) => {
                let known = Arc::clone(slot.get());
                let lookups = known.lookups.load(Ordering::Relaxed) + 1;
                if known.key == stat.key && known.kind == stat.kind && !known.is_spent() {
                    known.lookups.store(lookups, Ordering::Relaxed);
                    known
                } else {
                    // The store has given the number to another inode. The kernel's FORGETs of both come under one number.
                    fresh = true;
                    let node = Node::new(id, stat, known.generation + 1, lookups, Arc::new(fd));
                    let node = Arc::new(node);
                    slot.insert(Arc::clone(&node));
                    node
                }
            }
            Entry::Vacant(slot) => {
                fresh = true;
                let node = Arc::new(Node::new(id, stat, 0, 1, Arc::new(fd)));
                slot.insert(Arc::clone(&node));
                node
            }
        };
        node.named(parent, name);
        if fresh {
            self.admit(&node);
        }
        node
    }

    /// Takes back `count` lookups.
    pub(crate) fn forget(&self, id: NodeId, count: u64) {
        if id == ROOT || id.0 >= VIRTUAL {
            return;
        }
        if let Entry::Occupied(slot) = self.nodes.entry(id.0) {
            let node = slot.get();
            let left = node.lookups.load(Ordering::Relaxed).saturating_sub(count);
            node.lookups.store(left, Ordering::Relaxed);
            if left == 0 {
                let (_, node) = slot.remove_entry();
                self.remember(node);
            }
        }
    }

    /// Keeps a way back to a file that was opened and is now forgotten by the kernel, without holding it.
    fn remember(&self, node: Arc<Node>) {
        if !node.opened.load(Ordering::Relaxed) {
            return;
        }
        self.give_up(&node);
        let mut forgotten = lock(&self.forgotten);
        let key = node.key;
        if forgotten.nodes.insert(key, node).is_none() {
            forgotten.order.push_back(key);
        }
        if forgotten.order.len() > FORGOTTEN
            && let Some(oldest) = forgotten.order.pop_front()
        {
            forgotten.nodes.remove(&oldest);
        }
    }

    /// Keeps a way back to a file that the daemon itself found at `path` below SOURCE, whether or not the kernel knows it.
    pub(crate) fn found(&self, fd: OwnedFd, stat: &Attr, path: &Path) {
        let id = self.numbers.id_of(stat.key);
        let known = self.node(id).ok().filter(|node| node.key == stat.key);
        if let Some(node) = known {
            node.opened.store(true, Ordering::Relaxed);
            // Forgotten between the two lines above: then nobody else remembers it.
            if node.lookups.load(Ordering::Relaxed) == 0 {
                self.remember(node);
            }
            return;
        }
        if lock(&self.forgotten).nodes.contains_key(&stat.key) {
            return;
        }
        let node = Node::new(id, stat, 0, 0, Arc::new(fd));
        node.opened.store(true, Ordering::Relaxed);
        // Its directories may be unknown too: all of the path is its name in the root.
        node.named(ROOT, path.as_os_str());
        self.remember(Arc::new(node));
    }

    /// Turns a descriptor into a handle where the store has handles.
    fn give_up(&self, node: &Node) {
        let mut anchor = lock(&node.anchor);
        if anchor.handle.is_none()
            && self.handles
            && node.key.dev == self.root.key.dev
            && let Some(fd) = &anchor.fd
        {
            anchor.handle = sys::name_to_handle(fd).ok();
        }
        anchor.fd = None;
    }

    /// A descriptor (O_PATH at least) of the inode. ESTALE when it cannot be reached any more.
    pub(crate) fn fd(&self, node: &Arc<Node>) -> io::Result<Arc<OwnedFd>> {
        node.touched.store(true, Ordering::Relaxed);
        let handle = {
            let anchor = lock(&node.anchor);
            if let Some(fd) = &anchor.fd {
                return Ok(Arc::clone(fd));
            }
            anchor.handle.clone()
        };
        let name = node.name();
        let fd = match handle {
            Some(handle) => sys::open_handle(&self.mount, &handle)?,
            None => self.walk(node)?,
        };
        let fd = Arc::new(fd);
        if node.lookups.load(Ordering::Relaxed) == 0 {
            // The kernel has forgotten it: to hold it would keep the space of a removed file.
            return Ok(fd);
        }
        lock(&node.anchor).fd = Some(Arc::clone(&fd));
        if node.name() != name {
            // Found by a name that was taken away meanwhile, of which `unname` has told before this was kept.
            self.forget_dead(node);
        }
        self.admit(node);
        Ok(fd)
    }

    /// Finds an inode by its names, from the nearest ancestor that is held.
    fn walk(&self, node: &Arc<Node>) -> io::Result<OwnedFd> {
        let mut below: Vec<(Arc<Node>, OsString)> = Vec::new();
        let mut at = Arc::clone(node);
        let mut dir = loop {
            let (parent, name) = at.name().ok_or_else(stale)?;
            below.push((at, name));
            at = self.node(parent)?;
            if at.id == ROOT {
                break Arc::clone(&self.root_fd);
            }
            if let Some(fd) = lock(&at.anchor).fd.clone() {
                break fd;
            }
            if below.len() > DEPTH {
                return Err(stale());
            }
        };
        let mut found = None;
        while let Some((wanted, name)) = below.pop() {
            let fd = open_path(&dir, &name)?;
            if self.stat(&fd)?.key != wanted.key {
                return Err(stale());
            }
            if below.is_empty() {
                found = Some(fd);
            } else {
                dir = Arc::new(fd);
            }
        }
        found.ok_or_else(stale)
    }

    /// A name of the inode was taken away in the store, perhaps its last.
    pub(crate) fn unname(&self, node: &Node, parent: NodeId, name: &OsStr, last: bool) {
        let others = node.unnamed(parent, name);
        if last {
            node.removed.store(true, Ordering::Relaxed);
        } else if others {
            self.forget_dead(node);
        }
    }

    /// A FUSE store may go by names: a descriptor is worth no more than the name it was opened by.
    fn forget_dead(&self, node: &Node) {
        if self.kind == FUSE_MAGIC {
            lock(&node.anchor).fd = None;
        }
    }

    /// Whether an inode lies on a filesystem like that of SOURCE, where a mount below it may be of any kind.
    pub(crate) fn as_source(&self, node: &Node, fd: &OwnedFd) -> bool {
        node.key.dev == self.root.key.dev
            || rustix::fs::fstatfs(fd).is_ok_and(|s| s.f_type == self.kind)
    }

    /// Counts a newly held descriptor and gives up the one longest unused.
    fn admit(&self, node: &Arc<Node>) {
        let limit = descriptors::for_inodes();
        let mut held = lock(&self.held);
        held.push_back(Arc::downgrade(node));
        let mut spared = 0;
        while held.len() > limit {
            let Some(victim) = held.pop_front() else {
                return;
            };
            let Some(victim) = victim.upgrade() else {
                continue;
            };
            // A second chance, but the queue always ends shorter than it was.
            if victim.touched.swap(false, Ordering::Relaxed) && spared < 64 {
                spared += 1;
                held.push_back(Arc::downgrade(&victim));
                continue;
            }
            self.give_up(&victim);
        }
    }

    /// The node's path below SOURCE by its newest name; relative to the last ancestor that is still known.
    pub(crate) fn path(&self, node: &Node) -> PathBuf {
        let mut parts = Vec::new();
        let mut next = node.name();
        while let Some((parent, name)) = next {
            parts.push(name);
            if parent == ROOT || parts.len() > DEPTH {
                break;
            }
            next = self.node(parent).ok().and_then(|n| n.name());
        }
        parts.iter().rev().collect()
    }

    /// The path of `name` in the directory `parent`.
    pub(crate) fn path_in(&self, parent: &Node, name: &OsStr) -> PathBuf {
        let mut path = self.path(parent);
        path.push(Path::new(name));
        path
    }
}

impl Node {
    fn new(id: NodeId, stat: &Attr, generation: u64, lookups: u64, fd: Arc<OwnedFd>) -> Self {
        Self {
            id,
            key: stat.key,
            kind: stat.kind,
            generation,
            opens: Mutex::new(Opens::default()),
            lookups: AtomicU64::new(lookups),
            names: Mutex::new(Vec::new()),
            anchor: Mutex::new(Anchor {
                fd: Some(fd),
                handle: None,
            }),
            touched: AtomicBool::new(true),
            removed: AtomicBool::new(false),
            opened: AtomicBool::new(false),
        }
    }

    /// Whoever has its key now is another inode: without birth times a number that is given out again looks the same.
    fn is_spent(&self) -> bool {
        self.key.born == 0 && self.is_removed()
    }

    /// Its last name was taken away.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    fn name(&self) -> Option<(NodeId, OsString)> {
        lock(&self.names).last().cloned()
    }

    /// The inode was seen as `name` in `parent`: its newest name.
    pub(crate) fn named(&self, parent: NodeId, name: &OsStr) {
        let mut names = lock(&self.names);
        if names.last().is_some_and(|(p, n)| *p == parent && n == name) {
            return;
        }
        names.retain(|(p, n)| !(*p == parent && n == name));
        if names.len() == NAMES {
            names.remove(0);
        }
        names.push((parent, name.to_owned()));
    }

    /// A name is gone; true when others are known. The last one stays as what the file was called.
    pub(crate) fn unnamed(&self, parent: NodeId, name: &OsStr) -> bool {
        let mut names = lock(&self.names);
        let others = names.len() > 1;
        if others {
            names.retain(|(p, n)| !(*p == parent && n == name));
        }
        others
    }
}

/// An O_PATH descriptor of `name` in `dir`, itself if it is a symlink.
pub(crate) fn open_path(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

pub(crate) fn stale() -> io::Error {
    io::Error::from_raw_os_error(libc::ESTALE)
}
