//! What the ledger is told. Plain data, made by the engine from requests, digests and seals; no clock, no I/O.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Digests;
use atlas_manifests::id::NodeRef;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::vocabulary::{Closed, Quiet, State};

use crate::caller::Who;
use crate::vfs::observer::{Access, FileKey, HandleId};

/// What the index knew about a content before this life of the daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its node in the graph.
    pub node: NodeRef,
    /// Where it was last, below SOURCE.
    pub path: PathBytes,
    /// Its digests.
    pub digests: Digests,
    /// Its manifest, when it has one.
    pub manifest: Option<ManifestRef>,
    /// `dc:format`.
    pub media_type: Option<String>,
    /// Sealed, unattested, ...
    pub state: State,
    /// The registered set that it is a member of.
    pub set: Option<Box<Known>>,
}

/// A regular file was opened through the mount.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The new handle.
    pub handle: HandleId,
    /// The backing inode.
    pub file: FileKey,
    /// The name it was opened by, below SOURCE.
    pub path: PathBytes,
    /// What was asked for.
    pub access: Access,
    /// The file before this open changed anything.
    pub before: FileIdentity,
    /// Whom it is credited to: usually one, every open run when the caller could not be told. Never empty.
    pub who: Vec<Who>,
    /// What the index knows of the content that was there.
    pub known: Option<Known>,
    /// Left out by configuration.
    pub excluded: bool,
    /// A program, library or script.
    pub code: bool,
    /// The daemon moves the bytes, so reads and writes will be told.
    pub inline: bool,
    /// No name leads to the file any more: it was opened by what stands for it in `/proc`, or found just before its name went.
    pub removed: bool,
}

/// A FLUSH: some process closed one of its descriptors.
#[derive(Debug, Clone)]
pub struct Flush {
    /// Which handle.
    pub handle: HandleId,
    /// Who closed.
    pub who: Who,
    /// A shell opened it for this process, which is none: `sh` of Debian redirects first and forks then.
    pub for_shell: bool,
    /// How.
    pub closed: Closed,
    /// Exit status or signal.
    pub status: Option<i32>,
    /// The file at that moment.
    pub now: FileIdentity,
}

/// A digest arrived for a node.
#[derive(Debug, Clone)]
pub struct Digested {
    /// Both digests and the length.
    pub digests: Digests,
    /// Whether nobody could write meanwhile.
    pub quiet: Quiet,
    /// What identified the bytes.
    pub identity: FileIdentity,
    /// `dc:format` by content and name.
    pub media_type: String,
    /// C2PA asset types.
    pub types: Vec<String>,
    /// The same content as the index knows it, when it does.
    pub known: Option<Known>,
}

/// Why no digest came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undigested {
    /// The digest was called off, or the bytes changed under it: what identifies them now tells which.
    Changed(FileIdentity),
    /// The file is gone for good.
    Gone,
    /// It could not be read.
    Failed(String),
}
