//! What the filesystem tells about each request, and what it asks back. The seam between POSIX and provenance: no FUSE, no policy.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use atlas_manifests::rows::FileIdentity;
use rustix::io::Errno;

/// A thread, as FUSE names callers. Not a process: see `Tgid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub i32);

/// A process (thread group leader).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tgid(pub i32);

/// Who made a request. `tid` is 0 for callers outside the daemon's pid namespace.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The calling thread.
    pub tid: Tid,
    /// Its filesystem user id.
    pub uid: u32,
    /// Its filesystem group id.
    pub gid: u32,
}

/// One backing inode, whatever its names: survives rename, tells a reused inode number from the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// Device number; 0 is that of SOURCE.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Birth time, ns since 1970; 0 where the store has none that stays.
    pub born: i128,
}

/// One open file description of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub u64);

/// What an open asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// O_RDONLY or O_RDWR.
    pub read: bool,
    /// O_WRONLY or O_RDWR.
    pub write: bool,
    /// O_TRUNC, or the file did not exist before.
    pub truncate: bool,
    /// The file did not exist before.
    pub created: bool,
    /// Opened by execve(2).
    pub exec: bool,
}

/// A regular file was opened; told before the OPEN or CREATE is answered.
#[derive(Debug, Clone)]
pub struct Opened<'a> {
    /// The new handle.
    pub handle: HandleId,
    /// The backing inode.
    pub file: FileKey,
    /// The name it was opened by, below SOURCE.
    pub path: &'a Path,
    /// What was asked for.
    pub access: Access,
    /// Who.
    pub caller: Caller,
    /// The file before this open changed anything (before O_TRUNC). All zero sizes for a created file.
    pub before: FileIdentity,
    /// True when the daemon moves this handle's bytes, so that `read` and `wrote` will be told.
    pub inline: bool,
}

/// Why bytes or length of a file change other than by a write to an open handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// truncate(2) or ftruncate(2).
    Resize,
    /// fallocate(2), any mode.
    Allocate,
}

/// The provenance side of the filesystem. Every method is called on a FUSE thread: none may block beyond the bound it states.
pub trait Observer: Send + Sync + 'static {
    /// A file is about to be opened for writing, truncated or fallocated: stop digesting it and let go of its lease. At most 100 ms.
    /// `alters`: by the time that this is told its bytes are others already, as they are not after an open that empties nothing.
    fn before_change(&self, file: FileKey, alters: bool);
    /// Inline handles: a write failed, and may have left something all the same.
    fn write_failed(&self, _handle: HandleId) {}
    /// A change that `alters` has been told, or there is nothing to tell of it.
    fn after_change(&self, _file: FileKey) {}
    /// Told after the backing open succeeded and before the answer. Microseconds.
    fn opened(&self, opened: &Opened<'_>);
    /// Inline handles: these very bytes are about to be given to the reader.
    fn read(&self, handle: HandleId, offset: u64, bytes: &[u8]);
    /// Inline handles: these very bytes were written.
    fn wrote(&self, handle: HandleId, offset: u64, bytes: &[u8]);
    /// Told before FLUSH is answered: close(2) waits for it. `now` is the file's identity at that moment.
    fn flushed(&self, handle: HandleId, caller: Caller, now: &FileIdentity);
    /// The last reference to the handle is gone. No caller: FUSE does not say.
    fn released(&self, handle: HandleId, now: Option<&FileIdentity>);
    /// Length or allocation changed, by `handle` or by path.
    fn changed(
        &self,
        file: FileKey,
        handle: Option<HandleId>,
        path: &Path,
        how: Change,
        caller: Caller,
    );
    /// The daemon copied bytes inside the kernel (copy_file_range) from one handle to another.
    fn copied(&self, from: HandleId, to: HandleId, caller: Caller);
    /// A name moved, with everything below it. `replaced` is the regular file whose name was taken.
    fn renamed(&self, from: &Path, to: &Path, replaced: Option<FileKey>, caller: Caller);
    /// Two names changed places (RENAME_EXCHANGE), each with everything below it.
    fn exchanged(&self, a: &Path, b: &Path, caller: Caller);
    /// A name of this file was told while names moved: it may be another one by now.
    fn placed(&self, _file: FileKey) {}
    /// A regular file has one more name.
    fn linked(&self, file: FileKey, path: &Path);
    /// A name of a regular file is gone; `last` when no name is left.
    fn unlinked(&self, file: FileKey, path: &Path, last: bool, caller: Caller);
    /// Mode, owner, times, extended attributes or names are about to be changed; `restated` follows in any case.
    fn before_restating(&self, _file: FileKey) {}
    /// Mode, owner, times, extended attributes or names were changed (or not, when that failed), and no byte was: what was identified as `before` is `now`.
    fn restated(&self, _file: FileKey, _before: &FileIdentity, _now: &FileIdentity) {}
    /// A virtual `user.atlas.*` attribute, full name given. `None`: not one of ours. At most 5 s, off the FUSE thread: the caller parks the reply.
    fn attribute(
        &self,
        file: FileKey,
        name: &[u8],
        caller: Caller,
    ) -> Option<Result<Vec<u8>, Errno>>;
    /// The content of a virtual file below `.atlas/`, for example `status` or `by-digest/<hex>.c2pa`; `None`: no such file. Off the FUSE thread.
    fn virtual_file(&self, name: &Path, caller: Caller) -> Option<Result<Vec<u8>, Errno>>;
    /// A write to a virtual file (`mark`). Off the FUSE thread.
    fn virtual_write(&self, name: &Path, bytes: &[u8], caller: Caller) -> Result<(), Errno>;
}

/// What the provenance side may ask of the filesystem: backing files by identity, never through the mount.
pub trait Backing: Send + Sync + 'static {
    /// A fresh read-only description of the backing file. ESTALE when it is gone for good.
    fn open_read(&self, file: FileKey) -> io::Result<File>;
    /// Its identity now.
    fn identity(&self, file: FileKey) -> io::Result<FileIdentity>;
    /// A new file without a name on the store of SOURCE, for reading and writing. EOPNOTSUPP where there are none.
    fn nameless(&self) -> io::Result<File> {
        Err(Errno::OPNOTSUPP.into())
    }
    /// A digest has proven that nobody could write it.
    fn at_rest(&self, _file: FileKey) {}
    /// Its newest name below SOURCE. Asked for together with telling it on: `Observer::placed` is told if names moved meanwhile.
    fn path(&self, _file: FileKey) -> Option<PathBuf> {
        None
    }
    /// It has no name left.
    fn is_removed(&self, _file: FileKey) -> bool {
        false
    }
    /// The newest name below SOURCE of what stat shows with this inode number on the mount, while the kernel knows it.
    fn path_of_number(&self, _ino: u64) -> Option<PathBuf> {
        None
    }
    /// A path below SOURCE, resolved on the backing side (no symlinks followed out of SOURCE). For `register` and the index.
    fn open_path(&self, path: &Path) -> io::Result<File>;
    /// The key of an open backing file.
    fn key_of(&self, file: &File) -> io::Result<FileKey>;
    /// What identifies the content of an open backing file now.
    fn identity_of(&self, file: &File) -> io::Result<FileIdentity>;
    /// The backing directory's own path, as given. Never to be opened while it is covered by the mount.
    fn source(&self) -> PathBuf;
}
