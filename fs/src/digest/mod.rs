//! Digests of backing files, off the FUSE threads, and the proof that nobody could write meanwhile. Not what a digest means: see the ledger.
//!
//! Ended versions go before inputs. Both gate a seal, but an ended version that its writer opens again before it was digested is lost for good
//! (`superseded`), while an input can still be digested later; and a data set's inputs are many where checkpoints are few. One job in four is an
//! input while both wait, so that inputs, whose pages the reader has just brought in, are not left until the cache has dropped them.

mod chain;

mod keeper;
mod pass;
mod pool;
mod queue;
pub mod quiet;
mod running;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod watch;
mod work;

use atlas_manifests::digest::Digests;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::Quiet;

pub use self::pool::{DigestPool, Tuning};
pub use self::snapshot::{Snapshot, Snapshots};
pub use self::tree::{ContentTree, TreeError};

use crate::vfs::observer::FileKey;

/// One content to digest.
#[derive(Debug)]
pub struct Job {
    /// The submitter's name for it: comes back in every `Outcome`. Unique among the jobs a pool knows at one time.
    pub ticket: u64,
    /// The backing inode.
    pub file: FileKey,
    /// A version has ended: its opener has FLUSHed and quiet is wanted. False for an input, which is digested without waiting for quiet.
    pub ended: bool,
    /// Inline mode: what is already known of the content.
    pub tree: Option<ContentTree>,
    /// What the file must still be when its digest starts, but for its change time, which a rename moves too; else `Changed`. Not asked any more once the job was `Held`: a version that someone
    /// can still write ends when the last of them lets go.
    pub expect: Option<FileIdentity>,
    /// What is digested instead of the file, which somebody may write again.
    pub snapshot: Option<Snapshot>,
}

/// What became of a job. Told on the pool's own threads only, never inside `submit` or `cancel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Digested. After `Quiet::Held` of an ended version the pool goes on trying: a second `Done` with `Quiet::Proven`, or `Changed` or `Gone`, follows,
    /// except where the store has no leases (`quiet::leases`).
    Done {
        /// Whose.
        ticket: u64,
        /// Of what was read.
        digests: Digests,
        /// Whether a read lease was held from before the first byte to after the last.
        quiet: Quiet,
        /// The file's identity after the last byte, the same as before the first. Under a lease the change time alone may have moved in between
        /// (rename, chmod).
        identity: FileIdentity,
        /// The first 4096 bytes, or all if the file is shorter.
        head: Vec<u8>,
    },
    /// Someone can still write an ended version. Told once; the pool goes on trying.
    Held {
        /// Whose.
        ticket: u64,
    },
    /// Another writer came, or the content changed while it was read, or it is not what was expected. The job is over.
    Changed {
        /// Whose.
        ticket: u64,
        /// What the file is now.
        identity: FileIdentity,
    },
    /// The file does not exist any more. The job is over.
    Gone {
        /// Whose.
        ticket: u64,
    },
    /// It could not be read. The job is over.
    Failed {
        /// Whose.
        ticket: u64,
        /// One line.
        error: String,
    },
}

/// How many of a file's first bytes come with its digests.
pub const HEAD: usize = 4096;
