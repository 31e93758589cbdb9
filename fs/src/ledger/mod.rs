//! Who used what before which version ended: events in, effects out. Pure: no clock, no I/O, no threads.
//!
//! A *node* is one content: a version that somebody wrote through the mount, or the first sight of a file that was there.
//! Runs *use* nodes; versions end; an ended version is digested, waits for its inputs to settle, and is sealed. Nothing waits
//! for a node that had not ended when the version ended, so waiting follows the order of ends and cannot go in a circle.

mod effect;
mod endings;
mod event;
mod file;
mod forget;
mod kept;
mod merge;
mod names;
mod near;
mod node;
mod nodes;
mod observe;
mod paths;
mod plan;
mod recognise;
mod record;
mod restore;
mod run;
mod settle;

use std::collections::{BTreeSet, HashMap};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{NodeId, NodeRef, RunId, VersionId};
use atlas_manifests::rows::{FileIdentity, UseRow, VersionRow};
use atlas_manifests::vocabulary::State;

pub use self::effect::{Effect, Place, Plan, RawUse};
pub use self::event::{Digested, Flush, Known, Opening, Undigested};
pub use self::node::{NodeIx, Phase, Ticket};
pub use self::restore::Restored;

use self::file::{FileState, Handle};
use self::forget::Forgetting;
use self::node::Node;
use self::nodes::Nodes;
use self::paths::Paths;
use self::run::Uses;
use crate::vfs::observer::{FileKey, HandleId};

/// The ledger of one mount.
#[derive(Debug)]
pub struct Ledger {
    node: NodeId,
    next_version: u64,
    files: HashMap<FileKey, FileState>,
    by_path: Paths,
    handles: HashMap<HandleId, Handle>,
    nodes: Nodes,
    runs: HashMap<RunId, Uses>,
    merged: HashMap<RunId, (RunId, u32)>,
    effects: Vec<Effect>,
    /// Nodes of earlier lives, by name.
    restored: HashMap<NodeRef, NodeIx>,
    /// Registered sets whose members were used, by name.
    sets: HashMap<NodeRef, NodeIx>,
    forgetting: Forgetting,
    /// Ends of versions so far.
    ends: u64,
    /// Versions that ended and have not come to rest.
    unsettled: BTreeSet<NodeIx>,
    counts: Counts,
}

/// Figures for `status` and `metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions open or held.
    pub open: u64,
    /// Versions that ended and are not settled.
    pub pending: u64,
    /// Versions sealed in this life.
    pub sealed: u64,
    /// Contents that changed without the mount having seen it.
    pub behind: u64,
}

impl Ledger {
    /// An empty ledger whose first version gets the number `next_version`.
    pub fn new(node: NodeId, next_version: u64) -> Self {
        Self {
            node,
            next_version,
            files: HashMap::new(),
            by_path: Paths::default(),
            handles: HashMap::new(),
            nodes: Nodes::default(),
            runs: HashMap::new(),
            merged: HashMap::new(),
            effects: Vec::new(),
            restored: HashMap::new(),
            sets: HashMap::new(),
            forgetting: Forgetting::default(),
            ends: 0,
            unsettled: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// What is to be done since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Figures as of now.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.open = self.files.values().filter(|f| f.writing.is_some()).count() as u64;
        counts.pending = self.unsettled.len() as u64;
        counts
    }

    /// True while a run has versions on their way or holds files open.
    pub fn busy(&self, run: RunId) -> bool {
        let on_their_way = self.unsettled.iter().any(|ix| {
            self.nodes[*ix]
                .authored
                .as_ref()
                .is_some_and(|a| a.run == run)
        });
        on_their_way
            || self.may_be_proven(run)
            || self
                .handles
                .values()
                .any(|h| h.who.iter().any(|w| w.run == run))
    }

    /// Versions that ended and are not sealed, nor will never be.
    pub fn unsettled(&self) -> Vec<NodeIx> {
        self.unsettled.iter().copied().collect()
    }

    /// The same for a person who looks for what holds them up.
    pub fn on_their_way(&self) -> Vec<String> {
        let one = |ix: &NodeIx| format!("{ix:?} {:?}", self.nodes[*ix]);
        self.unsettled.iter().map(one).collect()
    }

    /// How many of these are still on their way.
    pub fn still_unsettled(&self, nodes: &[NodeIx]) -> u64 {
        nodes.iter().filter(|n| self.unsettled.contains(n)).count() as u64
    }

    /// Takes a number for a version that did not come about by writing: a registration.
    pub fn reserve(&mut self) -> VersionId {
        let id = VersionId {
            node: self.node,
            n: self.next_version,
        };
        self.next_version += 1;
        id
    }

    /// The file of an attempt's node, and the name that it has now.
    pub fn place_of(&self, ticket: Ticket) -> Option<(FileKey, PathBytes)> {
        let node = self.nodes.get(ticket.node())?;
        Some((node.file, node.path.clone()))
    }

    /// The file of an attempt's node, when its bytes are not known to be identified so.
    pub fn unexpected(&self, ticket: Ticket, identity: &FileIdentity) -> Option<FileKey> {
        let node = self.nodes.get(ticket.node())?;
        (node.identity != Some(*identity)).then_some(node.file)
    }

    /// True when the attempt is about a version, not about an input that nobody was seen to write.
    pub fn is_version(&self, ticket: Ticket) -> bool {
        self.nodes
            .get(ticket.node())
            .is_some_and(|n| n.authored.is_some())
    }

    /// Number of uses of a run so far.
    pub fn uses_of(&self, run: RunId) -> u64 {
        self.runs.get(&run).map_or(0, Uses::len)
    }

    /// Writable handles, with the file's name and the process that opened each: who stands in the way of unmounting.
    pub fn writers(&self) -> Vec<(PathBytes, i32)> {
        let mut out: Vec<_> = self
            .handles
            .values()
            .filter(|h| h.write)
            .map(|h| (h.path.clone(), h.who.first().map_or(0, |w| w.tgid.0)))
            .collect();
        out.sort();
        out
    }

    /// The state of a file's own version and its row, for xattrs and the control channel. `None`: never seen by this life.
    pub fn file_state(&self, file: FileKey) -> Option<(State, Option<VersionRow>)> {
        let f = self.files.get(&file)?;
        if let Some(w) = &f.writing {
            let node = &self.nodes[self.real(w.node)];
            return Some((node.state(), node.row(|ix| self.id_of(ix))));
        }
        let node = &self.nodes[self.real(f.current?)];
        let state = if f.excluded && node.authored.is_some() {
            State::Excluded
        } else {
            node.state()
        };
        Some((state, node.row(|ix| self.id_of(ix))))
    }

    /// What identified a file's bytes when its current content ended or was seen; `None` while someone writes it.
    pub fn file_identity(&self, file: FileKey) -> Option<FileIdentity> {
        let f = self.files.get(&file)?;
        if f.writing.is_some() {
            return None;
        }
        self.nodes[self.real(f.current?)].identity
    }

    /// The file that has this name, when the ledger knows it.
    pub fn at_path(&self, path: &PathBytes) -> Option<FileKey> {
        self.by_path.get(path)
    }

    /// True when the ledger knows the file, so that the index need not be asked about it.
    pub fn knows(&self, file: FileKey) -> bool {
        self.files
            .get(&file)
            .is_some_and(|f| f.current.is_some() || f.writing.is_some())
    }

    /// Follows what turned out to be the same content.
    fn real(&self, ix: NodeIx) -> NodeIx {
        self.nodes.real(ix)
    }

    fn id_of(&self, ix: NodeIx) -> Option<NodeRef> {
        self.nodes[self.real(ix)].id
    }

    fn at(&mut self, ix: NodeIx) -> &mut Node {
        &mut self.nodes[ix]
    }

    fn add(&mut self, node: Node) -> NodeIx {
        self.nodes.add(node)
    }

    /// Gives a node its number; the numbers follow the order in which versions end, or first had to be named.
    fn name(&mut self, ix: NodeIx) -> NodeRef {
        if let Some(id) = self.nodes[ix].id {
            return id;
        }
        let id = NodeRef::Version(VersionId {
            node: self.node,
            n: self.next_version,
        });
        self.next_version += 1;
        self.at(ix).id = Some(id);
        id
    }

    /// Tells the index about a node, and about uses that waited for its name.
    fn tell(&mut self, ix: NodeIx) {
        let node = &self.nodes[ix];
        let Some(row) = node.row(|i| self.id_of(i)).filter(|_| !node.undecided()) else {
            return;
        };
        if !node.adopted {
            self.effects.push(Effect::Version(Box::new(row)));
        }
        for (run, place) in std::mem::take(&mut self.at(ix).untold) {
            self.tell_use(run, place);
        }
    }

    fn tell_use(&mut self, run: RunId, place: usize) {
        let Some(u) = self.runs.get(&run).and_then(|r| r.list.get(place)).cloned() else {
            return;
        };
        let real = self.real(u.node);
        let node = &self.nodes[real];
        let named = node.id.filter(|_| !node.undecided());
        if named.is_none() || node.phase == Phase::Open {
            // Told, or told again, when it is known what became of it: perhaps it will have been no version at all.
            self.at(real).untold.push((run, place));
        }
        let Some(node) = named else { return };
        let row = UseRow {
            run,
            order: place as u64,
            node,
            kind: u.kind,
            process: u.process,
            tree: u.tree,
            path: Some(u.path),
        };
        self.effects.push(Effect::Use(row));
    }
}

#[cfg(test)]
mod doubt_tests;
#[cfg(test)]
mod liveness_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod newcomer_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
