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
mod pulse;
pub mod serve;
pub mod signals;
pub mod state;
pub mod umount;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atlas_manifests::layout::NodeLock;

use crate::control::Handler;
use crate::failure::Failure;
use crate::options::MountOptions;

/// Everything that was decided about a mount before it is made.
pub struct Plan {
    /// As asked. Places that were resolved stand in `ground`.
    pub options: MountOptions,
    /// What it stands on: SOURCE opened, paths, flags, warnings for `status`.
    pub ground: checks::Ground,
    /// State, configuration, authority. Its paths work also when the mount covers SOURCE.
    pub ready: state::Ready,
    /// This machine's part of the state, for as long as it is held.
    pub lock: NodeLock,
    /// Where the control socket will be.
    pub socket: PathBuf,
}

/// Makes the mount: the filesystem and its provenance side.
pub trait Parts {
    /// Whether what was asked for can work here; asked before anything is made.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn check(&self, _options: &MountOptions, _ground: &checks::Ground) -> Result<(), Failure> {
        Ok(())
    }
    /// Mounts, and starts to serve; the mount must be in the mount table when this returns, of type `fuse.atlas`.
    ///
    /// # Errors
    /// What stands in the way. Nothing may be mounted then.
    fn start(&self, plan: Plan) -> Result<Arc<dyn Mounted>, Failure>;
}

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
