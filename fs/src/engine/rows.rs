//! The rows of one round of the scribe, and what is added to them on their way into the index. Not the index.

use std::collections::{HashMap, HashSet};

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::{NodeRef, RunId, VersionId};
use atlas_manifests::index::Index;
use atlas_manifests::rows::{UseRow, VersionRow};
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::vocabulary::State;

use super::clock::now;
use super::logging;

/// Rows of one round: the last row of a node wins.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) versions: Vec<VersionRow>,
    at: HashMap<NodeRef, usize>,
    pub(super) uses: Vec<UseRow>,
    pub(super) runs: HashSet<RunId>,
}

impl Rows {
    /// Adds one; what it does not know stays.
    pub(super) fn version(&mut self, row: VersionRow) {
        if let Some(run) = row.run {
            self.runs.insert(run);
        }
        match self.at.get(&row.node) {
            Some(place) => {
                let old = &self.versions[*place];
                let mut row = row;
                row.sealed_at = row.sealed_at.or_else(|| old.sealed_at.clone());
                row.input_set = row.input_set.or(old.input_set);
                row.members = row.members.or(old.members);
                self.versions[*place] = row;
            }
            None => {
                self.at.insert(row.node, self.versions.len());
                self.versions.push(row);
            }
        }
    }
}

/// The ledger does not know times and heads, nor what is logged: what the index remembers of them stays.
pub(super) fn completed(
    index: &Index,
    landed: &mut HashMap<VersionId, Sha256>,
    mut row: VersionRow,
) -> VersionRow {
    if let (NodeRef::Version(v), State::Sealed, Some(m)) = (row.node, row.state, row.manifest)
        && landed.get(&v) == Some(&m.sha256)
    {
        landed.remove(&v);
        row = logging::logged(row);
    }
    let known = index
        .versions(&[row.node])
        .ok()
        .and_then(|mut v| v.pop().flatten());
    if let Some(known) = known {
        row.ended_at = known.ended_at.or(row.ended_at);
        if known.state == State::Logged && known.manifest == row.manifest {
            row = logging::logged(row);
        }
        row.sealed_at = row.sealed_at.or(known.sealed_at);
        row.input_set = row.input_set.or(known.input_set);
        row.members = row.members.or(known.members);
        row.media_type = row.media_type.or(known.media_type);
        if matches!(row.node, NodeRef::Content(_)) {
            row.path = row.path.or(known.path);
        }
    }
    if row.ended_at.is_none() && row.closed.is_some() && row.state != State::Open {
        row.ended_at = Some(now());
    }
    row
}
