//! One content in the ledger: a version that somebody writes or wrote, or the first sight of a file that nobody was seen to write.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Digests;
use atlas_manifests::id::{NodeRef, RunId};
use atlas_manifests::rows::{FileIdentity, VersionRow};
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::vocabulary::{Closed, Cut, Kind, Quiet, State};

use crate::caller::Who;
use crate::vfs::observer::FileKey;

/// Position of a node in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIx(pub(super) u32);

/// Names one attempt to digest or seal a node, so that an outcome that comes too late is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl Ticket {
    pub(super) fn new(node: NodeIx, attempt: u32) -> Self {
        Self(u64::from(node.0) << 32 | u64::from(attempt))
    }

    pub(super) fn node(self) -> NodeIx {
        NodeIx(u32::try_from(self.0 >> 32).unwrap_or(u32::MAX))
    }

    pub(super) fn attempt(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

/// How far a node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Somebody writes it.
    Open,
    /// Its writer closed it, but the description lives on elsewhere.
    Held,
    /// Its digest is wanted.
    Digesting,
    /// Digested; some input is not settled.
    Waiting,
    /// Handed to the sealer.
    Sealing,
    /// Nothing more will happen to it.
    Settled(State),
    /// It turned out to be the same content as another node.
    Same(NodeIx),
}

/// What a version came from, by name: all that is needed of it when the version itself has come to rest.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub parent: Option<NodeRef>,
    pub copied: Vec<NodeRef>,
}

/// How a version came about; nodes that were only seen have none.
#[derive(Debug, Clone)]
pub(super) struct Authored {
    /// Counts the ends of all versions, from 1: kept when a version that was held ends again.
    pub ended: u64,
    /// The run of its last writer.
    pub run: RunId,
    /// Number of that process within the run.
    pub process: u32,
    /// Number of its tree.
    pub tree: u32,
    /// How it let go.
    pub closed: Closed,
    /// Exit status or signal.
    pub status: Option<i32>,
    /// Uses of the run before the cut.
    pub inputs: u64,
    /// Where the cut is.
    pub cut: Cut,
    /// The version it replaces.
    pub parent: Option<NodeIx>,
    /// Versions whose bytes the kernel copied into it.
    pub copied: Vec<NodeIx>,
    /// Places of the uses before the cut that may be the nearest.
    pub near: Vec<usize>,
    /// The names of both, once they are forgotten.
    pub named: Named,
    /// The file did not exist before the run made it.
    pub created: bool,
    /// Only metadata is known to have changed: equal digests mean that it is still its parent.
    pub doubtful: bool,
}

/// One content.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The inode that holds or held it.
    pub file: FileKey,
    /// First sight: what that inode held when it was last known, until a digest tells whether it still does.
    pub before: Option<NodeIx>,
    /// Its last known name below SOURCE.
    pub path: PathBytes,
    /// Its name in the graph: a version has one from its end (or from when somebody had to name it), a first sight once it is digested.
    pub id: Option<NodeRef>,
    /// How far it has come.
    pub phase: Phase,
    /// Its content.
    pub digests: Option<Digests>,
    /// `dc:format`.
    pub media_type: Option<String>,
    /// C2PA asset types.
    pub types: Vec<String>,
    /// A registered set that it is a member of.
    pub set: Option<NodeIx>,
    /// Whether nobody could write while it was digested.
    pub quiet: Option<Quiet>,
    /// What identifies its bytes on disk.
    pub identity: Option<FileIdentity>,
    /// Its manifest.
    pub manifest: Option<ManifestRef>,
    /// How it came about.
    pub authored: Option<Authored>,
    /// Somebody could still write it after its writer had closed it: a heir, or a mapping.
    pub lingering: bool,
    /// The index's node, recognised by its content or by what identifies it: its row is the index's to keep.
    pub adopted: bool,
    /// No name leads to it any more.
    pub gone: bool,
    /// A run other than its writer's used it.
    pub shared: bool,
    /// Some run used it.
    pub used: bool,
    /// A copy of its bytes is digested: what becomes of the file takes them away no more.
    pub kept: bool,
    /// Left out by configuration.
    pub excluded: bool,
    /// Why it is in its state, when a person would ask.
    pub reason: Option<String>,
    /// Versions that wait for this node to settle.
    pub dependents: Vec<NodeIx>,
    /// Inputs that this version waits for.
    pub waits: u32,
    /// Uses that the index was not told of, because the node had no name yet.
    pub untold: Vec<(RunId, usize)>,
    /// Who used it while it was being written, and by which name: what it becomes they have used too.
    pub early: Vec<(Who, Kind, PathBytes)>,
    /// The current attempt to digest it.
    pub attempt: u32,
}

impl Node {
    pub(super) fn new(file: FileKey, path: PathBytes, phase: Phase) -> Self {
        Self {
            file,
            before: None,
            path,
            id: None,
            phase,
            digests: None,
            media_type: None,
            types: Vec::new(),
            set: None,
            quiet: None,
            identity: None,
            manifest: None,
            authored: None,
            lingering: false,
            adopted: false,
            gone: false,
            shared: false,
            used: false,
            kept: false,
            excluded: false,
            reason: None,
            dependents: Vec::new(),
            waits: 0,
            untold: Vec::new(),
            early: Vec::new(),
            attempt: 0,
        }
    }

    /// Nothing that a dependent waits for will still change.
    pub(super) fn settled(&self) -> bool {
        matches!(self.phase, Phase::Settled(_))
    }

    /// Whether it is a version at all, or still the one before it, is for its digest to tell.
    pub(super) fn undecided(&self) -> bool {
        !self.settled() && self.authored.as_ref().is_some_and(|a| a.doubtful)
    }

    /// Its place in the order of ends; first sights come before every version.
    pub(super) fn number(&self) -> u64 {
        self.authored.as_ref().map_or(0, |a| a.ended)
    }

    /// Its state in the words of CONTRACTS 3.
    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Open => State::Open,
            Phase::Held => State::Held,
            Phase::Digesting => State::Digesting,
            Phase::Waiting | Phase::Sealing | Phase::Same(_) => State::Waiting,
            Phase::Settled(state) => state,
        }
    }

    /// Its row, once it has a name. Times and set heads are the engine's to fill in.
    pub(super) fn row(&self, resolve: impl Fn(NodeIx) -> Option<NodeRef>) -> Option<VersionRow> {
        let authored = self.authored.as_ref();
        Some(VersionRow {
            node: self.id?,
            path: Some(self.path.clone()),
            title: None,
            gone: self.gone,
            digests: self.digests,
            state: self.state(),
            reason: self.reason.clone(),
            closed: authored.map(|a| a.closed),
            status: authored.and_then(|a| a.status),
            quiet: self.quiet,
            cut: authored.map(|a| a.cut),
            run: authored.map(|a| a.run),
            process: authored.map_or(0, |a| a.process),
            tree: authored.map_or(0, |a| a.tree),
            inputs: authored.map_or(0, |a| a.inputs),
            parent: authored.and_then(|a| a.parent.and_then(&resolve).or(a.named.parent)),
            copied: authored.map_or_else(Vec::new, |a| {
                let known = a.copied.iter().filter_map(|c| resolve(*c));
                known.chain(a.named.copied.iter().copied()).collect()
            }),
            ephemeral: self.gone && !self.shared && authored.is_some_and(|a| a.created),
            manifest: self.manifest,
            input_set: None,
            members: None,
            media_type: self.media_type.clone(),
            ended_at: None,
            sealed_at: None,
            identity: self.identity,
        })
    }
}
