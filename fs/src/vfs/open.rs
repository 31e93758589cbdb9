//! OPEN, CREATE, FLUSH and RELEASE of regular files: where it is decided who moves the bytes, and where the observer learns who has what open.
//!
//! In passthrough the daemon registers the O_PATH descriptor of the inode and nothing else: the kernel opens the backing file itself, with the
//! job's flags and the daemon's credentials. So the daemon never holds a writable description, and `F_SETLEASE F_RDLCK` tells truthfully
//! whether any job can still write.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atlas_manifests::rows::FileIdentity;
use rustix::fs::{FileType, Mode, OFlags};

use super::announced::Announced;
use super::attr::{Attr, Shown};
use super::core::{TTL, Vfs};
use super::credentials::{self, As};
use super::handle::{Handle, Open, Register, Token, Way};
use super::inode::{Node, NodeId, lock, open_path, stale};
use super::observer::{Access, Caller, HandleId, Opened};
use super::sys;
use crate::descriptors::Own;

/// The kernel's `__FMODE_EXEC`, set in the flags of an open by execve(2).
const FMODE_EXEC: i32 = 0x20;

/// Flags that mean nothing, or the wrong thing, on the daemon's own description of an inline file: the kernel appends at the offset it gives,
/// does direct I/O to us, and small direct reads would be EINVAL.
const NOT_OURS: OFlags = OFlags::from_bits_retain(
    (libc::O_APPEND
        | libc::O_DIRECT
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_NOFOLLOW
        | libc::O_NOCTTY
        | libc::O_NONBLOCK
        | FMODE_EXEC) as u32,
);

/// The answer to an open.
#[derive(Debug)]
pub(crate) struct OpenReply {
    pub(crate) handle: HandleId,
    /// In passthrough: what the kernel shall read and write.
    pub(crate) token: Option<Token>,
    /// No FLUSH is wanted when the handle is closed.
    pub(crate) quiet_close: bool,
    /// Attributes that the kernel has may go wrong from now on.
    pub(crate) restless: bool,
}

/// The answer to a create.
#[derive(Debug)]
pub(crate) struct CreateReply {
    pub(crate) open: OpenReply,
    pub(crate) shown: Shown,
    /// How long name and attributes may be believed: the reply has one time for both.
    pub(crate) ttl: Duration,
}

fn access_of(flags: i32) -> Access {
    let mode = flags & libc::O_ACCMODE;
    Access {
        read: mode != libc::O_WRONLY,
        write: mode != libc::O_RDONLY,
        truncate: flags & libc::O_TRUNC != 0,
        created: false,
        exec: flags & FMODE_EXEC != 0,
    }
}

impl Vfs {
    /// OPEN of a regular file.
    pub(crate) fn open(
        &self,
        id: NodeId,
        flags: i32,
        caller: Caller,
        register: &dyn Register,
    ) -> io::Result<OpenReply> {
        self.accepting()?;
        let access = access_of(flags);
        let changes = access.write || access.truncate;
        if changes {
            self.writable()?;
        }
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        let before = self.inodes.stat(&*fd)?;
        if !before.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        credentials::prepare_thread();
        if self.passthrough() && (access.write || flags & libc::O_DIRECT != 0) {
            // Before anything is announced: between that and the telling nothing may take longer than it must.
            rehearse(&*fd, flags)?;
        }
        let observer = self.observer()?;
        let _announced = changes.then(|| Announced::new(&**observer, node.key, access.truncate));
        if changes {
            self.copy_up(&node, &fd, &before)?;
        }
        let (way, restless) = {
            let mut opens = lock(&node.opens);
            let way = self.way(opens.way.clone(), &node, &fd, register);
            let restless = opens.opened(way.clone(), access.write);
            (way, restless)
        };
        // Not under the lock: both wait for leases that others may have.
        let prepared = match &way {
            Way::Inline => self.own(&*fd, flags, (caller, before.perm)).map(Some),
            Way::Passthrough(_) if access.truncate => {
                let _as = As::group_aware(caller, before.perm);
                sys::truncate(&sys::proc_path(&*fd), 0).map(|()| None)
            }
            Way::Passthrough(_) => Ok(None),
        };
        let backing = prepared.inspect_err(|_| lock(&node.opens).closed(access.write))?;
        let reply = self.tell_opened(node, access, caller, &before.identity(), way, backing)?;
        Ok(OpenReply { restless, ..reply })
    }

    /// CREATE: makes and opens a regular file that does not exist.
    pub(crate) fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        (mode, umask, flags): (u32, u32, i32),
        caller: Caller,
        register: &dyn Register,
    ) -> io::Result<CreateReply> {
        self.accepting()?;
        self.writable()?;
        let dir = self.inodes.node(parent)?;
        self.not_hidden(&dir, name)?;
        let dir_fd = self.inodes.fd(&dir)?;
        let passthrough = self.passthrough();
        // Before anything is made.
        let lent = (!passthrough).then(|| self.descriptors.lend());
        let lent = lent.transpose()?;
        let how = if passthrough {
            // The same way as the kernel will: see `rehearse`.
            OFlags::RDONLY | (OFlags::from_bits_retain(flags as u32) & OFlags::DIRECT)
        } else {
            OFlags::from_bits_retain(flags as u32) - NOT_OURS - OFlags::TRUNC
        };
        let how = how | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let looking = self.moves.looking();
        let made = {
            let _as = As::creator(caller, umask);
            rustix::fs::openat(&*dir_fd, name, how, Mode::from_raw_mode(mode & 0o7777))
        };
        let file = match made {
            // Somebody else made it since the kernel looked: ESTALE makes the kernel look again.
            Err(rustix::io::Errno::EXIST) if flags & libc::O_EXCL == 0 => return Err(stale()),
            made => made?,
        };
        let stat = self.inodes.stat(&file)?;
        let access = Access {
            created: true,
            truncate: true,
            ..access_of(flags)
        };
        let (anchor, backing) = match lent {
            None => (file, None),
            Some(lent) => (open_again(&file, OFlags::PATH)?, Some(lent.own(file))),
        };
        let node = self.inodes.enter(parent, name, anchor, &stat);
        drop(looking);
        let opened = self.open_created(&node, (access, flags), caller, &stat, backing, register);
        let open = opened.inspect_err(|_| self.inodes.forget(node.id, 1))?;
        let ttl = self.attr_ttl(&node).min(TTL);
        Ok(CreateReply {
            open,
            shown: self.shown(&node, stat),
            ttl,
        })
    }

    fn open_created(
        &self,
        node: &Arc<Node>,
        (access, flags): (Access, i32),
        caller: Caller,
        stat: &Attr,
        backing: Option<Own>,
        register: &dyn Register,
    ) -> io::Result<OpenReply> {
        let fd = self.inodes.fd(node)?;
        let way = {
            let mut opens = lock(&node.opens);
            let way = match backing {
                Some(_) => Way::Inline,
                None => self.way(opens.way.clone(), node, &fd, register),
            };
            opens.opened(way.clone(), access.write);
            way
        };
        let prepared = match (&way, backing) {
            (Way::Inline, None) => self.own(&*fd, flags, (caller, stat.perm)).map(Some),
            (_, backing) => Ok(backing),
        };
        let backing = prepared.inspect_err(|_| lock(&node.opens).closed(access.write))?;
        let nothing = FileIdentity {
            size: 0,
            ..stat.identity()
        };
        self.tell_opened(Arc::clone(node), access, caller, &nothing, way, backing)
    }

    /// A description of the daemon's own for an inline handle.
    fn own(&self, fd: impl AsFd, flags: i32, by: (Caller, u16)) -> io::Result<Own> {
        let lent = self.descriptors.lend()?;
        Ok(lent.own(reopen(fd, flags, by)?))
    }

    /// How this inode's bytes move: as they already do, else as decided for the mount, else by the daemon.
    fn way(
        &self,
        current: Option<Way>,
        node: &Node,
        fd: &Arc<OwnedFd>,
        register: &dyn Register,
    ) -> Way {
        if let Some(way) = current {
            return way;
        }
        // What was found out about leases holds for SOURCE.
        if !self.passthrough() || !self.inodes.as_source(node, fd) {
            return Way::Inline;
        }
        match register.register(fd.as_fd()) {
            Ok(token) => Way::Passthrough(token),
            Err(e) => {
                if self.fallbacks.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("the kernel does not pass a file through ({e}): served inline");
                }
                Way::Inline
            }
        }
    }

    fn tell_opened(
        &self,
        node: Arc<Node>,
        access: Access,
        caller: Caller,
        before: &FileIdentity,
        way: Way,
        backing: Option<Own>,
    ) -> io::Result<OpenReply> {
        let id = self.handles.next();
        node.opened.store(true, Ordering::Relaxed);
        let handle = Arc::new(Handle {
            id,
            node,
            access,
            opener: caller,
            backing,
        });
        self.handles.insert(id, Open::File(Arc::clone(&handle)));
        self.observer()?.opened(&Opened {
            handle: id,
            file: handle.node.key,
            path: &self.inodes.path(&handle.node),
            access,
            caller,
            before: *before,
            inline: handle.backing.is_some(),
        });
        let token = match way {
            Way::Passthrough(token) => Some(token),
            Way::Inline => None,
        };
        Ok(OpenReply {
            handle: id,
            token,
            quiet_close: !access.write,
            restless: false,
        })
    }

    /// FLUSH: one of possibly many closes. Errors that the store kept for close(2) come out here.
    pub(crate) fn flush(&self, id: HandleId, caller: Caller) -> io::Result<()> {
        let handle = match self.handles.any(id)? {
            Open::File(handle) => handle,
            Open::Dir(_) | Open::Virtual(_) => return Ok(()),
        };
        let closed = match &handle.backing {
            Some(file) if handle.access.write => close_copy(file),
            _ => Ok(()),
        };
        let now = self
            .inodes
            .stat(&*self.inodes.fd(&handle.node)?)?
            .identity();
        self.observer()?.flushed(id, caller, &now);
        closed
    }

    /// RELEASE: the last close. What the daemon held for the handle is given up before the observer is told.
    pub(crate) fn release(&self, id: HandleId) -> io::Result<()> {
        let Some(Open::File(handle)) = self.handles.remove(id) else {
            return Ok(());
        };
        let (node, access) = (Arc::clone(&handle.node), handle.access);
        drop(handle);
        let given_up = {
            let mut opens = lock(&node.opens);
            let way = opens.way.clone();
            opens.closed(access.write);
            way
        };
        drop(given_up);
        let fd = self.inodes.fd(&node);
        let now = fd.and_then(|fd| self.inodes.stat(&*fd)).ok();
        self.observer()?
            .released(id, now.map(|n| n.identity()).as_ref());
        Ok(())
    }

    /// FORGET: the kernel drops so many of its lookups.
    pub(crate) fn forget(&self, id: NodeId, count: u64) {
        self.virtuals.forget(id, count);
        self.inodes.forget(id, count);
    }

    /// LOOKUP: finds `name` in `parent` and counts that the kernel knows it. `None`: there is no such name.
    pub(crate) fn lookup(&self, parent: NodeId, name: &OsStr) -> io::Result<Option<Shown>> {
        let dir = self.inodes.node(parent)?;
        if self.is_hidden(&dir, name) {
            return Ok(None);
        }
        if dir.kind != FileType::Directory {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        let dir_fd = self.inodes.fd(&dir)?;
        let _looking = self.moves.looking();
        let fd = match open_path(&dir_fd, name) {
            Ok(fd) => fd,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e),
        };
        let stat = self.inodes.stat(&fd)?;
        let node = self.inodes.enter(parent, name, fd, &stat);
        Ok(Some(self.shown(&node, stat)))
    }
}

/// Opens the backing file of an inline handle.
fn reopen(fd: impl AsFd, flags: i32, (caller, perm): (Caller, u16)) -> io::Result<OwnedFd> {
    let asked = OFlags::from_bits_retain(flags as u32);
    let _as = match asked.contains(OFlags::TRUNC) {
        true => As::group_aware(caller, perm),
        false => As::changer(caller),
    };
    match open_again(&fd, asked - NOT_OURS) {
        // One that may only grow (chattr +a) is opened in no other way.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && asked.contains(OFlags::APPEND) => {
            open_again(fd, (asked - NOT_OURS) | OFlags::APPEND)
        }
        opened => opened,
    }
}

/// Before the kernel opens the backing file itself: when that fails it says EIO, whatever the store said (read-only, immutable, being
/// executed, no direct I/O).
fn rehearse(fd: impl AsFd, flags: i32) -> io::Result<()> {
    let how = flags & (libc::O_ACCMODE | libc::O_APPEND | libc::O_DIRECT);
    // Not waiting for a digest that has a lease: what comes next makes it let go.
    let how = OFlags::from_bits_retain(how as u32) | OFlags::NONBLOCK;
    match open_again(fd, how) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        opened => opened.map(drop),
    }
}

/// Opens an inode held by O_PATH again, with other flags.
pub(crate) fn open_again(fd: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = sys::proc_path(fd);
    let flags = flags | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path.as_c_str(), flags, Mode::empty())?)
}

/// Closes a duplicate: network stores report failed writes at close.
fn close_copy(file: &Own) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(file, 0) else {
        // No descriptor to be had: the job's close is not what fails.
        return Ok(());
    };
    let copy = copy.into_raw_fd();
    // SAFETY: the descriptor was made one line above and is given up here.
    if unsafe { libc::close(copy) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::EINTR) => Ok(()),
        e => Err(e),
    }
}
