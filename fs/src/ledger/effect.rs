//! What the ledger wants done. The engine does it, and tells the ledger how it went.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{NodeRef, RunId, VersionId};
use atlas_manifests::rows::{FileIdentity, UseRow, VersionRow};
use atlas_manifests::set::Leaf;
use atlas_manifests::statement::Input;
use atlas_manifests::vocabulary::Kind;

use super::node::Ticket;
use crate::vfs::observer::FileKey;

/// One thing to do. In order: a later effect may rely on an earlier one having been queued.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Digest a backing file.
    Digest {
        /// Names the attempt; comes back with the outcome.
        ticket: Ticket,
        /// Which file.
        file: FileKey,
        /// An ended version (prove it quiet), not just an input.
        ended: bool,
        /// What the file must still be when the digest starts.
        expect: Option<FileIdentity>,
    },
    /// A version was closed by its writer, but a copy of the description may live on: ask again in a moment (`Ledger::still_held`).
    Hold {
        /// Which attempt.
        ticket: Ticket,
    },
    /// Remember this row, replacing what was remembered of its node.
    Version(Box<VersionRow>),
    /// Remember this use.
    Use(UseRow),
    /// A use was entered: journal it, so that it is not lost with the daemon.
    Used(Box<RawUse>),
    /// A version has ended: journal it before anybody is told that close(2) worked.
    Ended(Box<VersionRow>),
    /// What a settled version lies under, or is identified by, is something else now: journal it, the index may learn of it too late.
    Moved(Box<Place>),
    /// A version that was said to have ended is none: its bytes are those of the one before it.
    Withdrawn(VersionId),
    /// Every input of a version is settled: sign it.
    Seal(Box<Plan>),
}

/// Where a node's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The node.
    pub node: NodeRef,
    /// Its name below SOURCE.
    pub path: PathBytes,
    /// What identifies the bytes.
    pub identity: FileIdentity,
}

/// A use as it was entered, before its node had a name: what a later life needs to find the content again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RawUse {
    /// The run.
    pub run: RunId,
    /// Position in the run's input set.
    pub order: u64,
    /// Why it is a use.
    pub kind: Kind,
    /// Number of the reading process within the run.
    pub process: u32,
    /// Number of its tree.
    pub tree: u32,
    /// The name by which it was used, below SOURCE.
    pub path: PathBytes,
    /// The node, when it had a name already.
    pub node: Option<NodeRef>,
    /// What identified the bytes.
    pub identity: Option<FileIdentity>,
    /// Somebody was still writing it.
    pub open: bool,
}

/// Everything that a seal needs and only the ledger knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Comes back with the outcome.
    pub ticket: Ticket,
    /// The version.
    pub version: VersionId,
    /// Its row, as far as it is known.
    pub row: VersionRow,
    /// C2PA asset types of its content.
    pub types: Vec<String>,
    /// The run that wrote it.
    pub run: RunId,
    /// Leaves of the run's input set that no earlier plan carried; the sealer appends them.
    pub leaves: Vec<Leaf>,
    /// Size of the run's input set at this version's cut. Not more than what all plans so far have carried.
    pub cut: u64,
    /// The version that it replaces.
    pub parent: Option<Input>,
    /// Candidates for direct ingredients, nearest first.
    pub inputs: Vec<Input>,
}
