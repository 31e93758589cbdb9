//! Rows held in memory, with the answers of `Catalogue`: behind a scanned store and an opened bundle. Not durable, and not an index file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::bytes::PathBytes;
use crate::digest::DigestPrefix;
use crate::id::{NodeId, NodeRef, RunId};
use crate::rows::{RunRow, UseRow, VersionRow};
use crate::runs::Runs;
use crate::shelf::{Catalogue, ShelfError};

/// Rows by name. A row replaces the one of the same name.
#[derive(Debug, Clone, Default)]
pub struct History {
    versions: BTreeMap<NodeRef, VersionRow>,
    runs: Runs,
    uses: BTreeMap<(RunId, u64), UseRow>,
    users: BTreeSet<(NodeRef, RunId, u64)>,
    written: BTreeSet<(RunId, NodeRef)>,
}

impl History {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a version.
    pub fn add_version(&mut self, row: VersionRow) {
        if let Some(run) = self.versions.get(&row.node).and_then(|old| old.run) {
            self.written.remove(&(run, row.node));
        }
        if let Some(run) = row.run {
            self.written.insert((run, row.node));
        }
        self.versions.insert(row.node, row);
    }

    /// Adds or replaces a use.
    pub fn add_use(&mut self, row: UseRow) {
        if let Some(old) = self.uses.get(&(row.run, row.order)) {
            self.users.remove(&(old.node, old.run, old.order));
        }
        self.users.insert((row.node, row.run, row.order));
        self.uses.insert((row.run, row.order), row);
    }

    /// Adds a run, or what a newer row tells of it.
    pub fn add_run(&mut self, row: RunRow) {
        self.runs.add(row);
    }

    /// A run but for its processes.
    pub fn head(&self, run: RunId) -> Option<&RunRow> {
        self.runs.head(run)
    }

    /// One version.
    pub fn version(&self, node: NodeRef) -> Option<&VersionRow> {
        self.versions.get(&node)
    }

    /// Every row, in the order of their names.
    pub fn into_rows(self) -> (Vec<VersionRow>, Vec<UseRow>, Vec<RunRow>) {
        (
            self.versions.into_values().collect(),
            self.uses.into_values().collect(),
            self.runs.all().collect(),
        )
    }

    fn select(&self, want: impl Fn(&VersionRow) -> bool) -> Vec<VersionRow> {
        oldest_first(
            self.versions
                .values()
                .filter(|v| want(v))
                .cloned()
                .collect(),
        )
    }
}

impl Catalogue for History {
    fn by_path(&self, path: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let path = PathBytes::from(path);
        Ok(self.select(|v| v.path.as_ref() == Some(&path)))
    }

    fn by_digest(&self, digest: &DigestPrefix) -> Result<Vec<VersionRow>, ShelfError> {
        Ok(self.select(|v| v.digests.is_some_and(|d| digest.matches(&d))))
    }

    fn versions(&self, nodes: &[NodeRef]) -> Result<Vec<Option<VersionRow>>, ShelfError> {
        Ok(nodes
            .iter()
            .map(|n| self.versions.get(n).cloned())
            .collect())
    }

    fn written_by(&self, run: RunId) -> Result<Vec<VersionRow>, ShelfError> {
        let least = NodeRef::Version(crate::id::VersionId {
            node: NodeId([0; 16]),
            n: 0,
        });
        let nodes = self
            .written
            .range((run, least)..)
            .take_while(|(r, _)| *r == run)
            .filter_map(|(_, n)| self.versions.get(n).cloned());
        Ok(oldest_first(nodes.collect()))
    }

    fn run(&self, id: RunId) -> Result<Option<RunRow>, ShelfError> {
        Ok(self.runs.get(id))
    }

    fn runs(&self) -> Result<Vec<RunRow>, ShelfError> {
        Ok(first_started_first(self.runs.all().collect()))
    }

    fn uses(&self, run: RunId, below: u64) -> Result<Vec<UseRow>, ShelfError> {
        Ok(self
            .uses
            .range((run, 0)..(run, below))
            .map(|(_, u)| u.clone())
            .collect())
    }

    fn users(&self, node: NodeRef) -> Result<Vec<UseRow>, ShelfError> {
        let first = RunId {
            instance: crate::id::InstanceId([0; 16]),
            n: 0,
        };
        Ok(self
            .users
            .range((node, first, 0)..)
            .take_while(|(n, _, _)| *n == node)
            .filter_map(|(_, run, order)| self.uses.get(&(*run, *order)).cloned())
            .collect())
    }

    fn under(&self, dir: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let dir = PathBytes::from(dir);
        Ok(current(self.select(|v| {
            !v.gone && v.path.as_ref().is_some_and(|p| is_under(p, &dir))
        })))
    }
}

/// True for the directory itself and everything below it; an empty directory name is all.
pub(crate) fn is_under(path: &PathBytes, dir: &PathBytes) -> bool {
    dir.0.is_empty()
        || path
            .0
            .strip_prefix(&dir.0[..])
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The last version at each path, by path. `rows` are oldest first.
pub(crate) fn current(rows: Vec<VersionRow>) -> Vec<VersionRow> {
    let mut by_path = BTreeMap::new();
    for row in rows {
        if let Some(path) = row.path.clone() {
            by_path.insert(path, row);
        }
    }
    by_path.into_values().collect()
}

/// Content that nobody sealed first, then versions. Within a node the seal number decides, since clocks go back; nodes are ordered by
/// the time of the latest of their rows.
pub(crate) fn oldest_first(mut rows: Vec<VersionRow>) -> Vec<VersionRow> {
    let when = |row: &VersionRow| {
        row.ended_at
            .as_deref()
            .or(row.sealed_at.as_deref())
            .map(time)
    };
    let mut latest: HashMap<NodeId, Option<jiff::Timestamp>> = HashMap::new();
    for row in &rows {
        if let NodeRef::Version(v) = row.node {
            let entry = latest.entry(v.node).or_default();
            *entry = (*entry).max(when(row));
        }
    }
    rows.sort_by_key(|row| match row.node {
        NodeRef::Content(_) => (false, None, row.node),
        NodeRef::Version(v) => (true, latest.get(&v.node).copied().flatten(), row.node),
    });
    rows
}

/// By start, then by name.
pub(crate) fn first_started_first(mut runs: Vec<RunRow>) -> Vec<RunRow> {
    runs.sort_by_key(|r| (time(&r.started), r.id));
    runs
}

/// Text that is no time sorts first.
fn time(text: &str) -> jiff::Timestamp {
    text.parse().unwrap_or(jiff::Timestamp::MIN)
}
