//! The only file of this crate that names fuser: requests of the kernel become calls of `tree`. No decision is made here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenAccMode, OpenFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    SessionACL, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

use crate::machine::Errno;
use crate::simulator::Simulator;
use crate::tree::{Node, Open, Tree};

/// Nothing is remembered by the kernel: all of it can change at any time.
const TTL: Duration = Duration::ZERO;
/// Slow reads have threads of their own; these are for everything else.
const THREADS: usize = 4;
/// How long an unmount waits for the threads to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A mounted tree; dropping it unmounts, whatever is still open in it.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    session: Option<BackgroundSession>,
    simulator: Arc<Simulator>,
}

impl Mounted {
    /// Mounts at `path`, which has to be there. The mount answers when this returns.
    pub fn start(simulator: Arc<Simulator>, path: &Path, rtmr: bool) -> io::Result<Self> {
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        // Modes decide who may do what, as in sysfs.
        config.acl = SessionACL::All;
        config.mount_options = vec![
            MountOption::FSName("atlas-tdx-sim".into()),
            MountOption::CUSTOM("subtype=atlas-tdx-sim".into()),
            MountOption::DefaultPermissions,
        ];
        let path = path.canonicalize()?;
        let adapter = Adapter {
            tree: Arc::new(Tree::new(Arc::clone(&simulator), rtmr)),
            opened: Mutex::default(),
        };
        let session = fuser::spawn_mount(adapter, &path, &config)?;
        let mounted = Self {
            path,
            session: Some(session),
            simulator,
        };
        fs::metadata(mounted.path.join("report"))?;
        Ok(mounted)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The machine behind it.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: an open file or a working directory must not keep a test's mount alive.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let end = Instant::now() + PATIENCE;
        if let Some(session) = self.session.take() {
            while !session.guard.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The connection's side of the tree.
struct Adapter {
    tree: Arc<Tree>,
    opened: Mutex<Opened>,
}

/// Open files by handle.
#[derive(Default)]
struct Opened {
    last: u64,
    files: HashMap<u64, Arc<Open>>,
}

impl Adapter {
    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<Open>, Errno> {
        let opened = self.opened();
        opened
            .files
            .get(&handle.0)
            .cloned()
            .ok_or(Errno(libc::EBADF))
    }

    fn node(&self, ino: INodeNo) -> Result<Node, Errno> {
        let node = Node::of(ino.0).filter(|node| self.tree.exists(*node));
        node.ok_or(Errno(libc::ENOENT))
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<Node, Errno> {
        let mut below = self.tree.list(self.node(parent)?).into_iter();
        let found = below.find(|(other, _)| OsStr::new(other) == name);
        found.map(|(_, node)| node).ok_or(Errno(libc::ENOENT))
    }

    fn attributes(&self, node: Node) -> FileAttr {
        let now = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: INodeNo(node.number()),
            size: self.tree.size(node),
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind: kind(node),
            perm: node.mode(),
            nlink: if node.is_dir() { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn open_file(&self, ino: INodeNo, flags: OpenFlags) -> Result<(u64, Node), Errno> {
        let mode = flags.acc_mode();
        let (read, write) = (mode != OpenAccMode::O_WRONLY, mode != OpenAccMode::O_RDONLY);
        let node = self.node(ino)?;
        let file = Arc::new(self.tree.open(node, read, write)?);
        let mut opened = self.opened();
        opened.last += 1;
        let handle = opened.last;
        opened.files.insert(handle, file);
        Ok((handle, node))
    }
}

fn kind(node: Node) -> FileType {
    if node.is_dir() {
        FileType::Directory
    } else {
        FileType::RegularFile
    }
}

fn errno(e: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(e.0)
}

/// The part of `bytes` that a read asks for.
fn answer(reply: ReplyData, bytes: Result<Arc<[u8]>, Errno>, offset: u64, size: u32) {
    match bytes {
        Ok(bytes) => {
            let from = (offset as usize).min(bytes.len());
            let to = from.saturating_add(size as usize).min(bytes.len());
            reply.data(&bytes[from..to]);
        }
        Err(e) => reply.error(errno(e)),
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok(node) => reply.entry(&TTL, &self.attributes(node), Generation(0)),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(ino) {
            Ok(node) => reply.attr(&TTL, &self.attributes(node)),
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Truncating and touching change nothing, and are allowed: a shell's `>` does the one.
    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.node(ino) {
            Ok(_) if mode.is_some() || uid.is_some() || gid.is_some() => {
                reply.error(fuser::Errno::EPERM);
            }
            Ok(node) => reply.attr(&TTL, &self.attributes(node)),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = match (self.node(parent), name.to_str()) {
            (Ok(Node::Reports), Some(name)) => self.tree.simulator().machine().make_item(name),
            (Ok(_), _) => Err(Errno(libc::EPERM)),
            (Err(e), _) => Err(e),
        };
        match made {
            Ok(id) => reply.entry(&TTL, &self.attributes(Node::Item(id)), Generation(0)),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let dropped = match (self.find(parent, name), name.to_str()) {
            (Ok(Node::Item(_)), Some(name)) => self.tree.simulator().machine().drop_item(name),
            (Ok(_), _) => Err(Errno(libc::EPERM)),
            (Err(e), _) => Err(e),
        };
        match dropped {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn unlink(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EPERM);
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(fuser::Errno::EACCES);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino, flags) {
            Ok((handle, node)) => {
                let mut flags = FopenFlags::FOPEN_DIRECT_IO;
                if node.is_stream() {
                    flags |= FopenFlags::FOPEN_NONSEEKABLE;
                }
                reply.opened(FileHandle(handle), flags);
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.file(fh) {
            Ok(file) if file.node.is_stream() => {
                let tree = Arc::clone(&self.tree);
                // Whoever waits for a quote must not keep others from asking for something else.
                thread::spawn(move || answer(reply, tree.read(&file), offset, size));
            }
            Ok(file) => answer(reply, self.tree.read(&file), offset, size),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self
            .file(fh)
            .and_then(|file| self.tree.write(&file, offset, data));
        match written {
            Ok(count) => reply.written(count as u32),
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Where Linux would commit an input: `release` comes too late, when the next `open` is under way already.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _lock: LockOwner,
        reply: ReplyEmpty,
    ) {
        if let Ok(file) = self.file(fh) {
            self.tree.close(&file);
        }
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let file = self.opened().files.remove(&fh.0);
        if let Some(file) = file {
            self.tree.close(&file);
        }
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let dir = match self.node(ino) {
            Ok(dir) => dir,
            Err(e) => return reply.error(errno(e)),
        };
        let dots = [".", ".."].map(|name| (name.to_owned(), dir));
        let all = dots.into_iter().chain(self.tree.list(dir));
        for (i, (name, node)) in all.enumerate().skip(offset as usize) {
            if reply.add(INodeNo(node.number()), i as u64 + 1, kind(node), name) {
                break;
            }
        }
        reply.ok();
    }
}
