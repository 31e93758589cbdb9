//! One mount's life outside the filesystem itself: what is checked before, who waits for it, how it ends. Not POSIX, not provenance.

pub mod checks;
pub mod daemon;
pub mod detach;
pub mod holders;
pub mod lifecycle;
pub mod links;
pub mod log;
pub mod mountinfo;
pub mod notify;
pub mod places;
pub mod signals;
pub mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::control::Handler;

/// A mounted filesystem with its provenance side, as seen from the process that owns it.
pub trait Mounted: Send + Sync {
    /// Answers the control socket.
    fn handler(&self) -> Arc<dyn Handler>;
    /// From now on opens fail (or, with `false`, work again). Open files are not touched.
    fn refuse_opens(&self, refuse: bool);
    /// Who has files open for writing.
    fn writers(&self) -> Vec<Writer>;
    /// Seals what has ended, for at most so long. May be called again.
    fn drain(&self, at_most: Duration) -> Drained;
    /// Returns when the kernel has ended the session: somebody detached it, and its last user is gone.
    fn wait(&self);
    /// Ends the session if it still lives, journals what is not sealed, and lets go of everything. Called once, last.
    fn stop(&self);
}

/// A file open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Below SOURCE, as last known.
    pub path: PathBuf,
    /// The thread or process that opened it; 0 when it cannot be told.
    pub pid: i32,
}

/// What a drain left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Versions sealed by this drain.
    pub sealed: u64,
    /// Versions that have ended and are not sealed: the next mount finishes them.
    pub left: u64,
}
