//! POSIX over the backing directory: what each request does to it, and what the observer is told. Knows nothing of FUSE.
//!
//! Locks (flock, POSIX, OFD) are not here: a connection that does not ask for `FUSE_POSIX_LOCKS` and `FUSE_FLOCK_LOCKS` leaves them to the
//! kernel, which keeps them right for every process that uses the mount, without a request, and releases them when a process dies. What this
//! cannot do is to exclude processes that lock the backing files behind the mount, or on another machine.

pub mod observer;
pub mod options;
pub mod probe;

mod announced;
pub(crate) mod attr;
mod backing;
mod birth;
pub(crate) mod core;
mod credentials;
pub(crate) mod dir;
pub(crate) mod handle;
pub(crate) mod inode;
mod io;
mod mounted;
mod moves;
mod names;
pub(crate) mod number;
pub(crate) mod open;
mod sys;
pub(crate) mod virtual_files;
pub(crate) mod workers;
pub(crate) mod xattr;

pub use self::core::{OpenHandle, Stats, Vfs};
pub use mounted::Mounted;
pub(crate) use mounted::given_descriptor;
pub use options::{IoDecision, IoMode, Mode, Options};
pub use probe::probe;
pub(crate) use probe::required;
