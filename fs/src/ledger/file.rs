//! One backing file and the handles on it, as far as the ledger cares. Not the inode table: see `vfs`.

use std::collections::BTreeSet;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Closed, Kind};

use super::node::NodeIx;
use crate::caller::Who;
use crate::vfs::observer::{FileKey, HandleId};

/// A version in the making: from the first writable open until no writable handle is left.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    /// The node it will be.
    pub node: NodeIx,
    /// The file before.
    pub before: FileIdentity,
    /// What the file held before, when anything.
    pub parent: Option<NodeIx>,
    /// A change is certain: created, truncated, written, allocated.
    pub changed: bool,
    /// The file did not exist before.
    pub created: bool,
    /// Who wrote last, as far as it could be seen.
    pub who: Who,
    /// Who wrote through a shell's redirect, and how it let go.
    pub heir: Option<(Who, Closed, Option<i32>)>,
    /// How the last close by its opener went.
    pub closed: Option<(Closed, Option<i32>)>,
    /// Number of a run's uses at the last observed write (inline), if any was observed.
    pub cut: Option<(RunId, u64)>,
    /// Sources of copy_file_range.
    pub copied: Vec<NodeIx>,
}

/// One file.
#[derive(Debug)]
pub(super) struct FileState {
    /// Its last known name below SOURCE.
    pub path: PathBytes,
    /// The content that ended or was seen last.
    pub current: Option<NodeIx>,
    /// The content whose bytes were kept last.
    pub kept: Option<NodeIx>,
    /// The version in the making.
    pub writing: Option<Writing>,
    /// Handles open for writing.
    pub writers: BTreeSet<HandleId>,
    /// Handles open for reading only.
    pub readers: BTreeSet<HandleId>,
    /// Left out by configuration.
    pub excluded: bool,
    /// No name leads to it any more.
    pub gone: bool,
    /// The beat at which something last happened to it.
    pub touched: u64,
}

/// One open handle.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    /// On which file.
    pub file: FileKey,
    /// Who opened it.
    pub who: Vec<Who>,
    /// The name it was opened by.
    pub path: PathBytes,
    /// Open for writing.
    pub write: bool,
    /// Its opener has closed it: what is left are heirs.
    pub flushed: bool,
    /// It was opened to be executed or interpreted.
    pub code: bool,
    /// The daemon moves its bytes: no read and no write goes unseen.
    pub inline: bool,
    /// Reads were seen.
    pub read_seen: bool,
}

impl Handle {
    /// The use that it stands for.
    pub(super) fn kind(&self) -> Kind {
        if self.code { Kind::Code } else { Kind::Opened }
    }
}
