//! What an earlier life of the daemon left: versions that ended and were not sealed are sealed now, if their bytes are still there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::{NodeId, NodeRef, RunId};
use atlas_manifests::index::{Batch, Index, IndexError};
use atlas_manifests::layout::Layout;
use atlas_manifests::rows::{FileIdentity, VersionRow};
use atlas_manifests::runs::Runs;
use atlas_manifests::scan::StoreScan;
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::store::Store;
use atlas_manifests::vocabulary::State;

use super::journal::Record;
use super::{Engine, Work};
use crate::ledger::{Known, Place, RawUse, Restored};
use crate::vfs::observer::FileKey;

/// The node's index. One that was lost is made again from the store: a new one would begin to count at 1, and two versions would have one name.
pub(super) fn index(layout: &Layout, node: NodeId, store: &Store) -> Result<Index, IndexError> {
    let path = layout.index(node);
    let lost = !layout.is_fresh(node)
        && path
            .symlink_metadata()
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    let index = if lost {
        tracing::warn!("the index was lost: it is made again from the store");
        Index::rebuild(&path, store)?
    } else {
        Index::open(&path)?
    };
    // A mark that stays only hides that this index is lost some day.
    if let Err(e) = layout.settled(node) {
        tracing::warn!(error = %e, "the node is not marked as in use");
    }
    Ok(index)
}

/// No number is given out twice, even when the index missed the last versions of an earlier life.
pub(super) fn next_version(index: u64, records: &[Record], node: NodeId) -> u64 {
    let mut next = index.max(1);
    for record in records {
        let id = match record {
            Record::Ended { row, .. } => row.node,
            Record::Settled { version, .. } | Record::Withdrawn { version } => {
                NodeRef::Version(*version)
            }
            Record::Moved(place) => place.node,
            Record::Used(u) => match u.node {
                Some(node) => node,
                None => continue,
            },
        };
        if let NodeRef::Version(v) = id
            && v.node == node
            // No life gave out a larger one (FORMAT.md 1.5): going on from it would leave none to give.
            && v.n < i64::MAX as u64
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
    runs: Runs,
    settled: BTreeMap<NodeRef, Sha256>,
    places: BTreeMap<NodeRef, Place>,
}

fn sort(records: Vec<Record>) -> Left {
    let mut left = Left::default();
    for record in records {
        match record {
            Record::Used(u) => {
                left.uses.entry(u.run).or_default().insert(u.order, u);
            }
            Record::Ended { row, run } => {
                if let Some(run) = run {
                    left.runs.add(run);
                }
                left.ended.insert(row.node, row);
            }
            Record::Moved(place) => {
                left.places.insert(place.node, place);
            }
            Record::Withdrawn { version } => {
                left.ended.remove(&NodeRef::Version(version));
            }
            Record::Settled { version, manifest } => {
                left.settled.insert(NodeRef::Version(version), manifest);
            }
        }
    }
    let Left {
        ended,
        settled,
        places,
        ..
    } = &mut left;
    // Renamed after its statement was written down, and sealed then: the store knows the old name.
    for node in settled.keys() {
        if let Some(row) = ended.remove(node)
            && let (Some(path), Some(identity)) = (row.path, row.identity)
        {
            places.entry(*node).or_insert(Place {
                node: *node,
                path,
                identity,
            });
        }
    }
    left
}

impl Engine {
    /// Finishes what the journals tell, then removes them. Digests run in the background like any other.
    pub(super) fn recover(self: &Arc<Self>, records: Vec<Record>, files: &[PathBuf]) {
        let mut left = sort(records);
        left.settled.retain(|node, _| !self.settled_in_index(*node));
        let manifests: Vec<Sha256> = left.settled.into_values().collect();
        let places: Vec<Place> = left.places.into_values().collect();
        if let Err(e) = self
            .relearn(&manifests, &left.runs)
            .and_then(|()| self.put_right(&places))
        {
            tracing::warn!(
                error = e,
                "old journals stay, the next mount will read them again"
            );
            return;
        }
        // Sealed and not logged: the journal would say so otherwise.
        left.ended.retain(|node, _| {
            self.state_in_index(*node)
                .is_none_or(|s| s == State::Sealed || is_on_its_way(s))
        });
        if !left.ended.is_empty() {
            tracing::info!(
                versions = left.ended.len(),
                "recovered: sealing what an earlier life had not"
            );
        }
        let runs: BTreeSet<RunId> = left.ended.values().filter_map(|r| r.run).collect();
        for run in runs {
            let Some(row) = left.runs.get(run) else {
                continue;
            };
            self.facts.remember(&row);
            let _ = self.scribe.send(Work::Restored(Box::new(row)));
            let uses = left.uses.remove(&run).unwrap_or_default();
            // Until it is sealed it is this life's to lose.
            for raw in uses.values() {
                self.journal.push(&Record::Used(raw.clone()));
            }
            let restored: Vec<Restored> = uses.into_values().map(|u| self.restored(u)).collect();
            self.step(|l| l.restore_uses(run, restored));
        }
        let mut told = BTreeSet::new();
        for row in left.ended.into_values() {
            let now = self.present(&row);
            let run = row.run.filter(|r| told.insert(*r));
            let run = run.and_then(|r| left.runs.get(r));
            self.journal.push(&Record::Ended {
                row: row.clone(),
                run,
            });
            self.step(|l| l.restore_ended(&row, now));
        }
        if let Err(e) = self.journal.flush() {
            self.storing(Some(format!("the journal cannot be written: {e}")));
            return;
        }
        for file in files {
            if let Err(e) = std::fs::remove_file(file) {
                tracing::warn!(error = %e, "an old journal stays");
            }
        }
    }

    /// Tells the index of manifests that it had only in memory when the earlier life ended.
    fn relearn(&self, manifests: &[Sha256], journaled: &Runs) -> Result<(), String> {
        if manifests.is_empty() {
            return Ok(());
        }
        let scan = StoreScan::of(&*self.store, manifests).map_err(|e| e.to_string())?;
        let (versions, uses, runs) = scan.into_rows();
        let fresh = versions.into_iter();
        let mut fresh: Vec<VersionRow> = fresh
            .filter(|row| !self.settled_in_index(row.node))
            .collect();
        self.store.state_logged(&mut fresh);
        let mut all = Runs::default();
        for row in runs {
            let known = self.index.run(row.id).map_err(|e| e.to_string())?;
            // The store has what the index lost, and the journal tells of every change in its order.
            let id = row.id;
            known.into_iter().for_each(|row| all.add(row));
            all.add(row);
            journaled.get(id).into_iter().for_each(|row| all.add(row));
        }
        let runs = all.all().collect();
        let batch = Batch {
            versions: fresh,
            uses,
            runs,
        };
        self.index
            .write(&batch)
            .and_then(|()| self.index.sync())
            .map_err(|e| e.to_string())
    }

    /// Tells the index where contents lie that were renamed, or touched, just before the earlier life ended.
    fn put_right(&self, places: &[Place]) -> Result<(), String> {
        let mut batch = Batch::default();
        for place in places {
            let row = self.index.versions(&[place.node]);
            let row = row.map_err(|e| e.to_string())?.pop().flatten();
            let stale = |r: &VersionRow| {
                r.path.as_ref() != Some(&place.path) || r.identity != Some(place.identity)
            };
            if let Some(row) = row.filter(stale)
                && self.still(place.path.as_path(), place.identity).is_some()
            {
                batch.versions.push(VersionRow {
                    path: Some(place.path.clone()),
                    identity: Some(place.identity),
                    gone: false,
                    ..row
                });
            }
        }
        if batch.versions.is_empty() {
            return Ok(());
        }
        self.index
            .write(&batch)
            .and_then(|()| self.index.sync())
            .map_err(|e| e.to_string())
    }

    fn state_in_index(&self, node: NodeRef) -> Option<State> {
        let rows = self.index.versions(&[node]).ok();
        rows.and_then(|mut v| v.pop().flatten()).map(|r| r.state)
    }

    fn settled_in_index(&self, node: NodeRef) -> bool {
        self.state_in_index(node).is_some_and(|s| !is_on_its_way(s))
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

fn is_on_its_way(state: State) -> bool {
    matches!(
        state,
        State::Open | State::Held | State::Digesting | State::Waiting
    )
}

#[cfg(test)]
mod tests {
    use atlas_manifests::id::VersionId;

    use super::*;

    #[test]
    fn a_journal_with_an_impossible_number_does_not_use_up_all_numbers() {
        let (node, other) = (NodeId([1; 16]), NodeId([2; 16]));
        let settled = |node, n| Record::Settled {
            version: VersionId { node, n },
            manifest: Sha256([0; 32]),
        };
        let records = [
            settled(node, 7),
            settled(node, u64::MAX),
            settled(other, 1000),
        ];
        assert_eq!(next_version(1, &records, node), 8);
        assert_eq!(next_version(20, &records, node), 20);
    }
}
