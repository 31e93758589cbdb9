//! The rows of one round of the scribe. Not the index, which they go to.

use std::collections::{HashMap, HashSet};

use atlas_manifests::id::{NodeRef, RunId};
use atlas_manifests::rows::{UseRow, VersionRow};

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
