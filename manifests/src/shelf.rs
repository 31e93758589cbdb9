//! Where evidence is looked up: immutable objects by digest, and rows about versions, runs and uses. Traits only, no storage.
//!
//! The backing directory's store, a live daemon, and an exported bundle all answer these questions, so that every verb works on each.

use std::path::Path;
use std::sync::Arc;

use crate::digest::{DigestPrefix, Digests, Sha256};
use crate::id::{InstanceId, NodeId, NodeRef, RunId};
use crate::rows::{RunRow, UseRow, VersionRow};
use crate::statement::Statement;

/// Why a lookup failed, as opposed to finding nothing.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Reading failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being read.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What was read is not what its name says, or cannot be parsed. Says what to do.
    #[error("{0}")]
    Damaged(String),
    /// The daemon refused, or went away.
    #[error("{0}")]
    Daemon(String),
}

/// The kinds of immutable objects (CONTRACTS 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// A C2PA manifest store, named by the SHA-256 of its bytes.
    Manifest,
    /// A segment of an input set, named by the root of the set up to its end.
    Inputs,
    /// The member list of a registered set, named by its SHA-256.
    Members,
    /// A private record, named by the SHA-256 of the manifest it belongs to.
    Private,
    /// Evidence, named by the SHA-256 of its binding.
    Evidence,
    /// Collateral, named by the SHA-256 of its bytes.
    Collateral,
}

/// What is here of a node's log that is about one manifest. Untrusted: `verify` judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The certificate of the log's key, in PEM.
    pub certificate: Arc<[u8]>,
    /// Keys that signed its checkpoints, as C2SP writes them, one a line.
    pub keys: Arc<[u8]>,
    /// That the manifest is in the log (C2SP tlog-proof); `None` when it is not there.
    pub proof: Option<Vec<u8>>,
    /// Other leaves that are about the manifest or its instance, each as a proof whose extra data is the leaf: revocations, the instance's
    /// beginning, its last anchor.
    pub leaves: Vec<Vec<u8>>,
    /// The log itself answers: its head is the newest there is, and it can show how it grew.
    pub live: bool,
}

/// Whose place in a log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Whose log.
    pub node: NodeId,
    /// Which manifest.
    pub manifest: Sha256,
    /// Who sealed it, as the manifest says.
    pub instance: InstanceId,
}

impl Entry {
    /// That of a manifest with this name, which says this.
    pub fn of(manifest: Sha256, said: &Statement) -> Self {
        Self {
            node: said.version.node,
            manifest,
            instance: said.instance,
        }
    }
}

/// Immutable objects by digest. What comes back is untrusted: callers check it against the name they asked for.
pub trait Shelf {
    /// The object's bytes; `None` when it is not here.
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError>;
    /// The manifests that name this content as their asset, newest last.
    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError>;

    /// What the node's log says of a manifest; `None` when there is no log here.
    fn transparency(&self, _entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        Ok(None)
    }

    /// The proof that the node's log of `new` leaves extends that of `old`; `None` when it cannot be made here.
    fn growth(
        &self,
        _node: NodeId,
        _old: u64,
        _new: u64,
    ) -> Result<Option<Vec<Sha256>>, ShelfError> {
        Ok(None)
    }
}

/// Rows about versions, runs and uses. A cache: nothing in it is evidence.
pub trait Catalogue {
    /// Versions that have or had this path below SOURCE, oldest first; the last one that is not `gone` is the file's own.
    fn by_path(&self, path: &Path) -> Result<Vec<VersionRow>, ShelfError>;
    /// Versions with content that the prefix names, oldest first.
    fn by_digest(&self, digest: &DigestPrefix) -> Result<Vec<VersionRow>, ShelfError>;
    /// Rows of these nodes, in the order asked; `None` where there is none.
    fn versions(&self, nodes: &[NodeRef]) -> Result<Vec<Option<VersionRow>>, ShelfError>;
    /// Versions that this run wrote, oldest first.
    fn written_by(&self, run: RunId) -> Result<Vec<VersionRow>, ShelfError>;
    /// One run.
    fn run(&self, id: RunId) -> Result<Option<RunRow>, ShelfError>;
    /// Every run, oldest first.
    fn runs(&self) -> Result<Vec<RunRow>, ShelfError>;
    /// The run's uses with `order < below`, in order.
    fn uses(&self, run: RunId, below: u64) -> Result<Vec<UseRow>, ShelfError>;
    /// Every use of this node, by any run.
    fn users(&self, node: NodeRef) -> Result<Vec<UseRow>, ShelfError>;
    /// The current versions of files whose path starts with `dir` (which is below SOURCE; empty is all), by path.
    fn under(&self, dir: &Path) -> Result<Vec<VersionRow>, ShelfError>;
}
