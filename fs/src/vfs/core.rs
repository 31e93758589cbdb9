//! The filesystem's shared state and what may be asked about it from outside. Not the operations: they are in the modules beside.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::fs::{Mode as Bits, OFlags};

use super::credentials;
use super::handle::Handles;
use super::inode::{Inodes, Node, lock};
use super::moves::Moves;
use super::observer::{Caller, FileKey, Observer, Tid};
use super::options::{IoDecision, IoMode, Mode, Options};
use super::probe;
use super::virtual_files::VirtualNodes;
use super::workers::Workers;
use crate::descriptors::Descriptors;

/// How long the kernel may believe names and attributes: what happens behind the mount shows after this.
pub(crate) const TTL: Duration = Duration::from_secs(1);

/// An open file of the mount, for "who holds it".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHandle {
    /// Path below SOURCE, as last known.
    pub path: PathBuf,
    /// The thread that opened it; 0 when outside the daemon's pid namespace.
    pub opener: Tid,
    /// Opened for writing.
    pub writable: bool,
    /// The backing inode.
    pub file: FileKey,
}

/// Counters of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that came from the daemon itself, refused with EDEADLK. Must be 0.
    pub self_requests: u64,
    /// Inodes the kernel knows.
    pub inodes: u64,
    /// Descriptors held for them, about.
    pub anchors: u64,
    /// Open files and directories.
    pub handles: u64,
    /// Opens that the kernel would not pass through, served inline instead.
    pub fallbacks: u64,
}

/// POSIX over one backing directory. Made before the mount; `fuse::serve` brings it to life.
pub struct Vfs {
    pub(crate) inodes: Inodes,
    pub(crate) moves: Moves,
    pub(crate) handles: Handles,
    pub(crate) descriptors: Descriptors,
    pub(crate) virtuals: VirtualNodes,
    /// For work on the store that may take long.
    pub(crate) workers: Workers,
    /// For questions to the observer: apart, so that neither waits for the other.
    pub(crate) askers: Workers,
    pub(crate) source: PathBuf,
    pub(crate) mountpoint: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) allow_other: bool,
    pub(crate) threads: usize,
    pub(crate) fuse_options: Vec<String>,
    /// The store has POSIX ACLs.
    pub(crate) acl: bool,
    pub(crate) fallbacks: AtomicU64,
    required: bool,
    hidden: Vec<OsString>,
    decision: Mutex<IoDecision>,
    observer: OnceLock<Arc<dyn Observer>>,
    refusing: AtomicBool,
    self_requests: AtomicU64,
}

impl fmt::Debug for Vfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vfs")
            .field("source", &self.source)
            .field("mountpoint", &self.mountpoint)
            .finish_non_exhaustive()
    }
}

impl Vfs {
    /// Opens SOURCE (unless it is given open) and decides who moves the bytes. Nothing is mounted yet; `Backing` works from here on.
    pub fn new(options: Options) -> io::Result<Arc<Self>> {
        credentials::remember();
        let source = match options.source_fd {
            Some(fd) => fd,
            None => open_directory(&options.source)?,
        };
        let decision = match options.io {
            IoMode::Inline => IoDecision {
                mode: Mode::Inline,
                reason: "asked for".into(),
            },
            IoMode::Auto | IoMode::Passthrough => probe::probe_fd(&source),
        };
        let required = options.io == IoMode::Passthrough;
        if required && decision.mode == Mode::Inline {
            return Err(probe::impossible(&decision.reason));
        }
        let acl = super::xattr::has_acl(&source);
        let mut hidden = vec![OsString::from(super::virtual_files::DIRECTORY)];
        hidden.extend(options.hidden.map(PathBuf::into_os_string));
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(4, |n| n.get().clamp(4, 16)),
            n => n,
        };
        Ok(Arc::new(Self {
            inodes: Inodes::new(source)?,
            moves: Moves::default(),
            handles: Handles::new(),
            descriptors: Descriptors::default(),
            virtuals: VirtualNodes::new(),
            workers: Workers::new(),
            askers: Workers::new(),
            source: options.source,
            mountpoint: options.mountpoint,
            read_only: options.read_only,
            allow_other: options.allow_other,
            threads,
            fuse_options: options.fuse_options,
            acl,
            fallbacks: AtomicU64::new(0),
            required,
            hidden,
            decision: Mutex::new(decision),
            observer: OnceLock::new(),
            refusing: AtomicBool::new(false),
            self_requests: AtomicU64::new(0),
        }))
    }

    /// Who moves the bytes, and why. Final once the mount is served.
    pub fn io(&self) -> IoDecision {
        lock(&self.decision).clone()
    }

    /// Refuses (or allows again) every new open and create with ESHUTDOWN, while files that are open go on working: a mount that drains.
    pub fn refuse_new_opens(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::Relaxed);
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            self_requests: self.self_requests.load(Ordering::Relaxed),
            inodes: self.inodes.len() as u64,
            anchors: self.inodes.held() as u64,
            handles: self.handles.len() as u64,
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
        }
    }

    /// Who holds what open, now.
    pub fn open_handles(&self) -> Vec<OpenHandle> {
        let files = self.handles.files();
        let shown = files.iter().map(|h| OpenHandle {
            path: self.inodes.path(&h.node),
            opener: h.opener.tid,
            writable: h.access.write,
            file: h.node.key,
        });
        shown.collect()
    }

    /// Sets the observer; false when there is one already.
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(crate) fn observer(&self) -> io::Result<&Arc<dyn Observer>> {
        let missing = || io::Error::from_raw_os_error(libc::ENOTCONN);
        self.observer.get().ok_or_else(missing)
    }

    /// The kernel would not give passthrough at INIT.
    pub(crate) fn passthrough_refused(&self, reason: &str) -> io::Result<()> {
        if self.required {
            return Err(probe::impossible(reason));
        }
        *lock(&self.decision) = IoDecision {
            mode: Mode::Inline,
            reason: reason.into(),
        };
        Ok(())
    }

    /// How many filesystems lie upon each other here, this one included. The kernel allows two: what is told here is not left for an
    /// overlayfs above the mount, and what SOURCE is made of must be told.
    pub(crate) fn stack_depth(&self) -> u32 {
        if probe::is_stacked(&**self.inodes.root_fd()) {
            2
        } else {
            1
        }
    }

    pub(crate) fn passthrough(&self) -> bool {
        lock(&self.decision).mode == Mode::Passthrough
    }

    /// EROFS on a read-only mount.
    pub(crate) fn writable(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        Ok(())
    }

    /// ESHUTDOWN while the mount drains.
    pub(crate) fn accepting(&self) -> io::Result<()> {
        if self.refusing.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ESHUTDOWN));
        }
        Ok(())
    }

    /// True for names directly below SOURCE that do not exist for users of the mount.
    pub(crate) fn is_hidden(&self, parent: &Node, name: &OsStr) -> bool {
        parent.id == super::inode::ROOT && self.hidden.iter().any(|h| h == name)
    }

    /// EPERM for a name that nothing may be made, moved or removed under.
    pub(crate) fn not_hidden(&self, parent: &Node, name: &OsStr) -> io::Result<()> {
        if self.is_hidden(parent, name) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(())
    }

    /// How long attributes may be believed. A store through a map changes them without any request, and only writers have such maps.
    pub(crate) fn attr_ttl(&self, node: &Node) -> Duration {
        if lock(&node.opens).restless {
            Duration::ZERO
        } else {
            TTL
        }
    }

    /// EDEADLK, and a mark in the counter, for a request of the daemon itself: its answer could need the thread that waits for it.
    pub(crate) fn refuse_self(&self, caller: Caller) -> io::Result<()> {
        thread_local! {
            static STRANGER: Cell<(i32, u32)> = const { Cell::new((0, 0)) };
        }
        // A thread id found to be foreign is believed for a while: thread ids are reused slowly.
        let (known, trusted) = STRANGER.get();
        if caller.tid.0 == known && trusted > 0 {
            STRANGER.set((known, trusted - 1));
            return Ok(());
        }
        let own = caller.tid.0 > 0
            && rustix::fs::access(
                format!("/proc/self/task/{}", caller.tid.0),
                rustix::fs::Access::EXISTS,
            )
            .is_ok();
        if !own {
            STRANGER.set((caller.tid.0, 256));
            return Ok(());
        }
        if self.self_requests.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("a request to the mount came from the daemon itself and was refused");
        }
        Err(io::Error::from_raw_os_error(libc::EDEADLK))
    }
}

fn open_directory(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Bits::empty())?)
}
