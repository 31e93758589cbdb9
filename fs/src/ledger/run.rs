//! A run's uses, in the order in which they happened: the future leaves of its input set. No Merkle tree here: see `manifests::set`.

use std::collections::{HashMap, HashSet};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::vocabulary::Kind;

use super::near::{Near, Sort};
use super::node::NodeIx;
use crate::caller::Who;

/// Beyond so many processes of one tree that used one version in one way, more are not told apart:
/// a data loader that starts new workers every epoch would otherwise add every file again.
const PROCESSES_TOLD_APART: u32 = 4;

/// One use.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// What was used.
    pub node: NodeIx,
    /// Seen read, or only opened, ...
    pub kind: Kind,
    /// Number of the reading process within the run.
    pub process: u32,
    /// Number of its tree.
    pub tree: u32,
    /// The name by which it was used.
    pub path: PathBytes,
    /// Somebody was still writing it: named, never waited for.
    pub open: bool,
}

/// All uses of one run.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// In order; the position is the `order` of the row and the index of the leaf.
    pub list: Vec<Use>,
    /// How many leaves the sealer was given.
    pub carried: usize,
    /// The largest cut of any version of the run: what stands before it is not changed any more.
    pub frozen: u64,
    /// The latest, for those that a manifest names.
    pub near: Near,
    seen: HashSet<(NodeIx, Kind, u32)>,
    processes: HashMap<(NodeIx, Kind, u32), u32>,
}

impl Uses {
    /// Number of uses so far.
    pub(super) fn len(&self) -> u64 {
        self.list.len() as u64
    }

    /// Enters a use; `None` when nothing new would be said by it.
    pub(super) fn enter(
        &mut self,
        who: Who,
        node: NodeIx,
        kind: Kind,
        path: &PathBytes,
        (open, sort): (bool, Sort),
    ) -> Option<usize> {
        // A use of a version that is still being written is entered again, under the same key, when the version ends.
        let key = (node, kind, who.process);
        if !open {
            if self.seen.contains(&key) {
                return None;
            }
            let others = self.processes.entry((node, kind, who.tree)).or_default();
            if *others >= PROCESSES_TOLD_APART {
                return None;
            }
            *others += 1;
            self.seen.insert(key);
        } else if self
            .list
            .iter()
            .rev()
            .take(64)
            .any(|u| u.open && (u.node, u.kind, u.process) == key)
        {
            return None;
        }
        self.list.push(Use {
            node,
            kind,
            process: who.process,
            tree: who.tree,
            path: path.clone(),
            open,
        });
        let place = self.list.len() - 1;
        self.near.enter(who.process, who.tree, sort, node, place);
        Some(place)
    }

    /// Bytes were seen to go: the use by `OPEN` becomes one by `READ` in place when no version's cut stands behind it.
    /// `None` when a new use has to be entered instead.
    pub(super) fn upgrade(&mut self, who: Who, node: NodeIx) -> Option<usize> {
        let from = usize::try_from(self.frozen)
            .unwrap_or(usize::MAX)
            .max(self.carried);
        let place = self
            .list
            .iter()
            .enumerate()
            .skip(from)
            .rev()
            .take(256)
            .find_map(|(at, u)| {
                (u.node == node && u.process == who.process && u.kind == Kind::Opened).then_some(at)
            })?;
        self.list[place].kind = Kind::Read;
        self.seen.insert((node, Kind::Read, who.process));
        Some(place)
    }
}
