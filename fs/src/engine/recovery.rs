//! What an earlier life of the daemon left: versions that ended and were not sealed are sealed now, if their bytes are still there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use atlas_manifests::id::{NodeId, NodeRef, RunId};
use atlas_manifests::rows::{FileIdentity, RunRow, VersionRow};
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::vocabulary::State;

use super::journal::Record;
use super::{Engine, Work};
use crate::ledger::{Known, RawUse, Restored};
use crate::vfs::observer::FileKey;

/// No number is given out twice, even when the index missed the last versions of an earlier life.
pub(super) fn next_version(index: u64, records: &[Record], node: NodeId) -> u64 {
    let mut next = index.max(1);
    for record in records {
        let id = match record {
            Record::Ended { row, .. } => row.node,
            Record::Settled(v) => NodeRef::Version(*v),
            Record::Used(u) => match u.node {
                Some(node) => node,
                None => continue,
            },
        };
        if let NodeRef::Version(v) = id
            && v.node == node
        {
            next = next.max(v.n + 1);
        }
    }
    next
}

#[derive(Default)]
struct Left {
    ended: BTreeMap<NodeRef, VersionRow>,
    uses: HashMap<RunId, BTreeMap<u64, RawUse>>,
    runs: HashMap<RunId, RunRow>,
}

fn sort(records: Vec<Record>) -> Left {
    let mut left = Left::default();
    let mut settled = BTreeSet::new();
    for record in records {
        match record {
            Record::Used(u) => {
                left.uses.entry(u.run).or_default().insert(u.order, u);
            }
            Record::Ended { row, run } => {
                if let Some(run) = run {
                    left.runs.insert(run.id, run);
                }
                left.ended.insert(row.node, row);
            }
            Record::Settled(v) => {
                settled.insert(NodeRef::Version(v));
            }
        }
    }
    left.ended.retain(|node, _| !settled.contains(node));
    left
}

impl Engine {
    /// Finishes what the journals tell, then removes them. Digests run in the background like any other.
    pub(super) fn recover(self: &Arc<Self>, records: Vec<Record>, files: &[PathBuf]) {
        let mut left = sort(records);
        left.ended.retain(|node, _| !self.settled_in_index(*node));
        if !left.ended.is_empty() {
            tracing::info!(
                versions = left.ended.len(),
                "recovered: sealing what an earlier life had not"
            );
        }
        let runs: BTreeSet<RunId> = left.ended.values().filter_map(|r| r.run).collect();
        for run in runs {
            let Some(row) = left.runs.get(&run) else {
                continue;
            };
            let _ = self.scribe.send(Work::Restored(Box::new(row.clone())));
            self.facts.remember(row);
            let uses = left.uses.remove(&run).unwrap_or_default();
            let restored: Vec<Restored> = uses.into_values().map(|u| self.restored(u)).collect();
            self.step(|l| l.restore_uses(run, restored));
        }
        for row in left.ended.into_values() {
            let now = self.present(&row);
            self.step(|l| l.restore_ended(&row, now));
        }
        self.settle_journal();
        for file in files {
            if let Err(e) = std::fs::remove_file(file) {
                tracing::warn!(error = %e, "an old journal stays");
            }
        }
    }

    fn settled_in_index(&self, node: NodeRef) -> bool {
        let row = self
            .index
            .versions(&[node])
            .ok()
            .and_then(|mut v| v.pop().flatten());
        row.is_some_and(|r| {
            !matches!(
                r.state,
                State::Open | State::Held | State::Digesting | State::Waiting
            )
        })
    }

    /// The file at a row's path, when it still holds the bytes that ended.
    fn present(&self, row: &VersionRow) -> Option<FileKey> {
        self.still(row.path.as_ref()?.as_path(), row.identity?)
    }

    fn still(&self, path: &std::path::Path, identity: FileIdentity) -> Option<FileKey> {
        let file = self.backing.open_path(path).ok()?;
        let key = self.backing.key_of(&file).ok()?;
        (self.backing.identity(key).ok()? == identity).then_some(key)
    }

    fn restored(&self, raw: RawUse) -> Restored {
        let by_identity = raw.identity.and_then(|i| self.known_identity(&i));
        let known: Option<Known> = by_identity.filter(|k| raw.node.is_none_or(|n| n == k.node));
        let file = raw.identity.and_then(|i| self.still(raw.path.as_path(), i));
        Restored { raw, known, file }
    }
}
