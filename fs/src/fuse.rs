//! The only file that names fuser: requests become calls of `vfs`, their results become replies. No decision about files is made here.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use fuser::{
    AccessFlags, BackingId, BsdFileFlags, Config, CopyFileRangeFlags, Errno, FileAttr, FileHandle,
    FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, MountOption, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, Session, SessionACL, TimeOrNow, WriteFlags,
};

use crate::vfs::attr::{Changes, SetTime, Shown, Time};
use crate::vfs::core::TTL;
use crate::vfs::handle::{Register, Token};
use crate::vfs::inode::NodeId;
use crate::vfs::observer::{Caller, HandleId, Observer, Tid};
use crate::vfs::open::{CreateReply, OpenReply};
use crate::vfs::virtual_files::{Found, is_door, is_virtual};
use crate::vfs::workers::Parked;
use crate::vfs::xattr::Value;
use crate::vfs::{Mounted, Vfs};

/// Bytes in one READ or WRITE at most.
const MAX_WRITE: u32 = 1 << 20;

/// Read-ahead and other requests that nobody waits for, at once.
const BACKGROUND: u16 = 64;

/// Mounts and answers requests until it is unmounted. Returns when the kernel has the mount; `observer` is told of everything from then on.
pub fn serve(vfs: &Arc<Vfs>, observer: Arc<dyn Observer>) -> io::Result<Mounted> {
    if !vfs.observe(observer) {
        let text = "this filesystem is served already";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let mut config = Config::default();
    config.n_threads = Some(vfs.threads);
    config.clone_fd = true;
    if vfs.allow_other {
        config.acl = SessionACL::All;
    }
    let name = vfs.source.to_string_lossy().replace(',', "_");
    config.mount_options = vec![
        MountOption::FSName(name),
        // Not `Subtype`: that one only reaches fusermount, and the mount would show as plain "fuse".
        MountOption::CUSTOM("subtype=atlas".into()),
        MountOption::DefaultPermissions,
    ];
    if vfs.read_only {
        config.mount_options.push(MountOption::RO);
    }
    config
        .mount_options
        .extend(vfs.fuse_options.iter().map(|o| mount_option(o)));
    let notifier = Arc::new(OnceLock::new());
    let adapter = Adapter {
        vfs: Arc::clone(vfs),
        notifier: Arc::clone(&notifier),
    };
    let session = match crate::vfs::given_descriptor(&vfs.mountpoint) {
        Some(fd) => {
            // SAFETY: whoever names /dev/fd/N as the mount point hands descriptor N over for it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Session::from_fd(adapter, fd, config.acl, config)?
        }
        None => Session::new(adapter, &vfs.mountpoint, &config)?,
    };
    // The cell was empty: only this function fills it.
    let _ = notifier.set(session.notifier());
    Mounted::start(Arc::clone(vfs), move || session.run())
}

fn mount_option(text: &str) -> MountOption {
    match text {
        "ro" => MountOption::RO,
        "rw" => MountOption::RW,
        "suid" => MountOption::Suid,
        "nosuid" => MountOption::NoSuid,
        "dev" => MountOption::Dev,
        "nodev" => MountOption::NoDev,
        "exec" => MountOption::Exec,
        "noexec" => MountOption::NoExec,
        "atime" => MountOption::Atime,
        "noatime" => MountOption::NoAtime,
        "sync" => MountOption::Sync,
        "dirsync" => MountOption::DirSync,
        other => MountOption::CUSTOM(other.to_owned()),
    }
}

/// The connection's side of the filesystem.
struct Adapter {
    vfs: Arc<Vfs>,
    /// Set once the kernel has the mount.
    notifier: Arc<OnceLock<Notifier>>,
}

impl Adapter {
    /// Makes the kernel ask for an inode's attributes again; its pages stay.
    fn forget_attributes(&self, ino: INodeNo) {
        if let Some(notifier) = self.notifier.get()
            && let Err(e) = notifier.inval_inode(ino, -1, 0)
        {
            tracing::debug!("the kernel keeps the attributes of inode {}: {e}", ino.0);
        }
    }

    /// Who asks; EDEADLK when it is the daemon itself.
    fn caller(&self, req: &Request) -> io::Result<Caller> {
        let caller = Caller {
            tid: Tid(req.pid() as i32),
            uid: req.uid(),
            gid: req.gid(),
        };
        self.vfs.refuse_self(caller)?;
        Ok(caller)
    }

    /// Does slow work off the FUSE threads; the reply waits as long as the work takes.
    fn slow<R: Refuse>(&self, reply: R, work: impl FnOnce(&Vfs, R) + Send + 'static) {
        let (parked, vfs) = (Parked::new(reply), Arc::clone(&self.vfs));
        let mine = parked.clone();
        let queued = self.vfs.workers.run(move || {
            if let Some(reply) = mine.take() {
                work(&vfs, reply);
            }
        });
        if !queued && let Some(reply) = parked.take() {
            reply.refuse(Errno::EAGAIN);
        }
    }

    /// Asks the observer off the FUSE threads; EAGAIN when there is no answer in time. `finish` only sees answers that still count.
    fn ask<R: Refuse, T>(
        &self,
        reply: R,
        ask: impl FnOnce(&Vfs) -> T + Send + 'static,
        finish: impl FnOnce(&Vfs, T, R) + Send + 'static,
    ) {
        let (parked, vfs) = (Parked::new(reply), Arc::clone(&self.vfs));
        let (mine, late) = (parked.clone(), parked.clone());
        let queued = self.vfs.askers.run(move || {
            let answer = ask(&vfs);
            if let Some(reply) = mine.take() {
                finish(&vfs, answer, reply);
            }
        });
        if queued {
            self.vfs.askers.deadline(move || {
                if let Some(reply) = late.take() {
                    reply.refuse(Errno::EAGAIN);
                }
            });
        } else if let Some(reply) = parked.take() {
            reply.refuse(Errno::EAGAIN);
        }
    }
}

/// A reply that can be an error.
trait Refuse: Send + 'static {
    fn refuse(self, error: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {$(
        impl Refuse for $reply {
            fn refuse(self, error: Errno) {
                self.error(error);
            }
        }
    )*};
}
refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// Answers with what came out, or with the error.
fn answer<R: Refuse, T>(reply: R, result: io::Result<T>, send: impl FnOnce(R, T)) {
    match result {
        Ok(value) => send(reply, value),
        Err(e) => reply.refuse(errno(&e)),
    }
}

fn answer_empty(reply: ReplyEmpty, result: io::Result<()>) {
    answer(reply, result, |reply, ()| reply.ok());
}

fn answer_entry(reply: ReplyEntry, result: io::Result<Shown>) {
    answer(reply, result, |reply, shown| {
        let generation = Generation(shown.generation);
        reply.entry_with_ttls(
            &shown.ttl,
            &TTL,
            &attributes(&shown, shown.id.0),
            generation,
        );
    });
}

fn answer_attr(reply: ReplyAttr, result: io::Result<Shown>) {
    answer(reply, result, |reply, shown| {
        reply.attr(&shown.ttl, &attributes(&shown, shown.ino));
    });
}

fn answer_xattr(reply: ReplyXattr, size: u32, result: io::Result<Vec<u8>>) {
    answer(reply, result, |reply, value| match value.len() as u32 {
        length if size == 0 => reply.size(length),
        length if length > size => reply.error(Errno::ERANGE),
        _ => reply.data(&value),
    });
}

fn answer_virtual(reply: ReplyOpen, handle: HandleId) {
    reply.opened(FileHandle(handle.0), FopenFlags::FOPEN_DIRECT_IO);
}

fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

fn handle(fh: FileHandle) -> HandleId {
    HandleId(fh.0)
}

fn errno(e: &io::Error) -> Errno {
    Errno::from_i32(match e.raw_os_error() {
        // The daemon's limit, not the caller's.
        Some(libc::EMFILE) => libc::ENFILE,
        Some(code) => code,
        None => libc::EIO,
    })
}

/// fuser takes one number for the node and for what stat shows; they differ only for the root.
fn attributes(shown: &Shown, ino: u64) -> FileAttr {
    let a = &shown.attr;
    FileAttr {
        ino: INodeNo(ino),
        size: a.size,
        blocks: a.blocks,
        atime: a.atime.system(),
        mtime: a.mtime.system(),
        ctime: a.ctime.system(),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(a.kind),
        perm: a.perm,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: a.rdev,
        blksize: a.blksize,
        flags: 0,
    }
}

fn kind(kind: rustix::fs::FileType) -> FileType {
    match kind {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(t) => SetTime::At(from_fuser(t)),
    }
}

/// The time that the kernel sent. fuser takes the nanoseconds of a time before 1970 away from its second, where the kernel adds them.
fn from_fuser(t: SystemTime) -> Time {
    match t.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Time {
            sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nsec: after.subsec_nanos(),
        },
        Err(before) => Time {
            sec: 0i64.saturating_sub_unsigned(before.duration().as_secs()),
            nsec: before.duration().subsec_nanos(),
        },
    }
}

impl Register for ReplyOpen {
    fn register(&self, backing: BorrowedFd<'_>) -> io::Result<Token> {
        Ok(Token(Arc::new(self.open_backing(backing)?)))
    }
}

impl Register for ReplyCreate {
    fn register(&self, backing: BorrowedFd<'_>) -> io::Result<Token> {
        Ok(Token(Arc::new(self.open_backing(backing)?)))
    }
}

fn backing(open: &OpenReply) -> Option<&BackingId> {
    open.token.as_ref().and_then(|t| t.0.downcast_ref())
}

fn open_flags(open: &OpenReply) -> FopenFlags {
    if open.quiet_close {
        FopenFlags::FOPEN_NOFLUSH
    } else {
        FopenFlags::empty()
    }
}

fn send_open(reply: ReplyOpen, open: &OpenReply) {
    let (fh, flags) = (FileHandle(open.handle.0), open_flags(open));
    match backing(open) {
        Some(id) => reply.opened_passthrough(fh, flags, id),
        None => reply.opened(fh, flags),
    }
}

fn send_create(reply: ReplyCreate, made: &CreateReply) {
    let (fh, flags) = (FileHandle(made.open.handle.0), open_flags(&made.open));
    let attr = attributes(&made.shown, made.shown.id.0);
    let generation = Generation(made.shown.generation);
    match backing(&made.open) {
        Some(id) => reply.created_passthrough(&made.ttl, &attr, generation, fh, flags, id),
        None => reply.created(&made.ttl, &attr, generation, fh, flags),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        ];
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!("the kernel does not offer {flag:?}");
            }
        }
        if self.vfs.acl && config.add_capabilities(InitFlags::FUSE_POSIX_ACL).is_err() {
            tracing::warn!("the kernel does not offer POSIX ACLs over FUSE: they are not enforced");
        }
        if self.vfs.passthrough() {
            let depth = self.vfs.stack_depth();
            if config
                .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
                .is_err()
                || config.set_max_stack_depth(depth).is_err()
            {
                self.vfs
                    .passthrough_refused("the kernel was built without FUSE passthrough")?;
            }
        }
        if let Err(most) = config.set_max_write(MAX_WRITE) {
            tracing::debug!("writes of at most {most} bytes");
        }
        if let Err(most) = config.set_max_background(BACKGROUND) {
            tracing::debug!("at most {most} requests in the background");
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let caller = match self.caller(req) {
            Ok(caller) => caller,
            Err(e) => return reply.error(errno(&e)),
        };
        let parent = node(parent);
        if !is_virtual(parent) && !is_door(parent, name) {
            return answer(
                reply,
                self.vfs.lookup(parent, name),
                |reply, found| match found {
                    Some(shown) => answer_entry(reply, Ok(shown)),
                    None => reply.error(Errno::ENOENT),
                },
            );
        }
        match self.vfs.virtual_lookup(parent, name) {
            Found::Here(shown) => answer_entry(reply, Ok(shown)),
            Found::Nothing => reply.error(Errno::ENOENT),
            Found::Ask(name) => {
                let asked = name.clone();
                self.ask(
                    reply,
                    move |vfs| vfs.virtual_content(&asked, caller),
                    move |vfs, content, reply| {
                        answer_entry(reply, content.map(|_| vfs.virtual_found(name)));
                    },
                );
            }
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.vfs.forget(node(ino), count);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let shown = self.caller(req).and_then(|_| self.vfs.getattr(node(ino)));
        answer_attr(reply, shown);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let caller = match self.caller(req) {
            Ok(caller) => caller,
            Err(e) => return reply.error(errno(&e)),
        };
        let id = node(ino);
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
        };
        let fh = fh.map(handle);
        if size.is_some() {
            return self.slow(reply, move |vfs, reply| {
                answer_attr(reply, vfs.setattr(id, fh, &changes, caller));
            });
        }
        answer_attr(reply, self.vfs.setattr(id, fh, &changes, caller));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer(reply, self.vfs.readlink(node(ino)), |reply, target| {
            reply.data(&target);
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self.caller(req).and_then(|caller| {
            self.vfs
                .mknod(node(parent), name, (mode, umask, rdev), caller)
        });
        answer_entry(reply, made);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self
            .caller(req)
            .and_then(|caller| self.vfs.mkdir(node(parent), name, (mode, umask), caller));
        answer_entry(reply, made);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self
            .caller(req)
            .and_then(|caller| self.vfs.symlink(node(parent), name, target, caller));
        answer_entry(reply, made);
    }

    fn link(&self, req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self
            .caller(req)
            .and_then(|_| self.vfs.link(node(ino), node(parent), name));
        answer_entry(reply, made);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self
            .caller(req)
            .and_then(|caller| self.vfs.unlink(node(parent), name, caller));
        answer_empty(reply, done);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self
            .caller(req)
            .and_then(|_| self.vfs.rmdir(node(parent), name));
        answer_empty(reply, done);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let done = self.caller(req).and_then(|caller| {
            let (from, to) = (node(parent), node(new_parent));
            self.vfs.rename((from, name), (to, new_name), flags, caller)
        });
        answer_empty(reply, done);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (id, flags) = (node(ino), flags.0);
        let caller = match self.caller(req) {
            Ok(caller) => caller,
            Err(e) => return reply.error(errno(&e)),
        };
        if !is_virtual(id) {
            let opened = self.vfs.open(id, flags, caller, &reply);
            if opened.as_ref().is_ok_and(|open| open.restless) {
                self.forget_attributes(ino);
            }
            return answer(reply, opened, |reply, open| send_open(reply, &open));
        }
        let name = match self.vfs.virtual_name(id) {
            Ok(name) => name,
            Err(e) => return reply.error(errno(&e)),
        };
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            return answer_virtual(reply, self.vfs.virtual_open(name, Vec::new()));
        }
        let asked = name.clone();
        self.ask(
            reply,
            move |vfs| vfs.virtual_content(&asked, caller),
            move |vfs, content, reply| {
                answer(reply, content, |reply, content| {
                    answer_virtual(reply, vfs.virtual_open(name, content));
                });
            },
        );
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.caller(req).and_then(|caller| {
            self.vfs
                .create(node(parent), name, (mode, umask, flags), caller, &reply)
        });
        answer(reply, made, |reply, made| send_create(reply, &made));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            let done = self.vfs.read(handle(fh), offset, size as usize, buffer);
            answer(reply, done, |reply, ()| reply.data(buffer));
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        how: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if is_virtual(node(ino)) {
            let caller = match self.caller(req) {
                Ok(caller) => caller,
                Err(e) => return reply.error(errno(&e)),
            };
            let data = data.to_vec();
            return self.ask(
                reply,
                move |vfs| vfs.virtual_write(handle(fh), &data, caller),
                |_, done, reply| answer(reply, done, |reply, n| reply.written(n as u32)),
            );
        }
        let kill = how.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let done = self.vfs.write(handle(fh), offset, data, kill);
        answer(reply, done, |reply, n| reply.written(n as u32));
    }

    fn flush(&self, req: &Request, _: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let done = self
            .caller(req)
            .and_then(|caller| self.vfs.flush(handle(fh), caller));
        answer_empty(reply, done);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        answer_empty(reply, self.vfs.release(handle(fh)));
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.slow(reply, move |vfs, reply| {
            answer_empty(reply, vfs.fsync(handle(fh), data_only));
        });
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.caller(req).and_then(|_| self.vfs.opendir(node(ino)));
        answer(reply, opened, |reply, id| {
            let flags = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
            reply.opened(FileHandle(id.0), flags);
        });
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let done = self.vfs.readdir((node(ino), handle(fh)), offset, |entry| {
            let ino = INodeNo(entry.ino);
            reply.add(ino, entry.next, kind(entry.kind), &entry.name)
        });
        answer(reply, done, |reply, ()| reply.ok());
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let done = self
            .vfs
            .readdirplus((node(ino), handle(fh)), offset, |entry, shown| {
                let attr = attributes(shown, shown.id.0);
                let generation = Generation(shown.generation);
                let ino = INodeNo(shown.id.0);
                reply.add(ino, entry.next, &entry.name, &shown.ttl, &attr, generation)
            });
        answer(reply, done, |reply, ()| reply.ok());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.vfs.handles.remove(handle(fh));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        self.slow(reply, move |vfs, reply| {
            answer_empty(reply, vfs.fsyncdir(handle(fh)));
        });
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        answer(reply, self.vfs.statfs(node(ino)), |reply, s| {
            let (size, fragment) = (s.f_bsize as u32, s.f_frsize as u32);
            let name = s.f_namemax as u32;
            reply.statfs(
                s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, size, name, fragment,
            );
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let done = self
            .caller(req)
            .and_then(|caller| self.vfs.setxattr(node(ino), name, value, flags, caller));
        answer_empty(reply, done);
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.caller(req).and_then(|caller| {
            let value = self.vfs.getxattr(node(ino), name)?;
            Ok((value, caller))
        });
        match value {
            Ok((Value::Stored(value), _)) => answer_xattr(reply, size, Ok(value)),
            Ok((Value::Virtual(file), caller)) => {
                let name = name.to_owned();
                self.ask(
                    reply,
                    move |vfs| vfs.virtual_attribute(file, &name, caller),
                    move |_, value, reply| answer_xattr(reply, size, value),
                );
            }
            Err(e) => reply.error(errno(&e)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer_xattr(reply, size, self.vfs.listxattr(node(ino)));
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self
            .caller(req)
            .and_then(|caller| self.vfs.removexattr(node(ino), name, caller));
        answer_empty(reply, done);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // With default_permissions the kernel has decided, from mode and ACL, before it asks.
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        match self.caller(req) {
            Ok(caller) => self.slow(reply, move |vfs, reply| {
                let done = vfs.fallocate(handle(fh), offset, length, mode, caller);
                answer_empty(reply, done);
            }),
            Err(e) => reply.error(errno(&e)),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let at = self.vfs.lseek(handle(fh), offset, whence);
        answer(reply, at, ReplyLseek::offset);
    }

    fn copy_file_range(
        &self,
        req: &Request,
        _: INodeNo,
        from: FileHandle,
        from_at: u64,
        _: INodeNo,
        to: FileHandle,
        to_at: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        match self.caller(req) {
            Ok(caller) => self.slow(reply, move |vfs, reply| {
                let (from, to) = ((handle(from), from_at), (handle(to), to_at));
                let done = vfs.copy_range(from, to, length, caller);
                answer(reply, done, ReplyWrite::written);
            }),
            Err(e) => reply.error(errno(&e)),
        }
    }
}

thread_local! {
    /// What the last READ of this thread gave: made once, not for every request.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
