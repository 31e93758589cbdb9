//! What a bare store says: rows made from manifests, input sets and private records, for ordinary users, copied stores, and a new index.
//! Shows what can be parsed and decides no trust: that is for `verify`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bytes::PathBytes;
use crate::digest::{DigestPrefix, Digests, Sha256};
use crate::history::History;
use crate::id::{NodeRef, RunId};
use crate::private::PrivateRecord;
use crate::read;
use crate::rows::{RunRow, UseRow, VersionRow};
use crate::set::{self, MemberList};
use crate::shelf::{Catalogue, Object, Shelf, ShelfError};
use crate::statement::{Input, ManifestRef, Origin, RunStatement, SetHead, Statement};
use crate::store::Store;
use crate::vocabulary::State;

/// What `StoreScan::assets` lists of one manifest: its name, its content, and when it was sealed.
pub type Sighting = (Sha256, Digests, String);

/// A catalogue over the objects of a shelf, read once.
#[derive(Debug, Default)]
pub struct StoreScan {
    history: History,
    heads: BTreeMap<RunId, SetHead>,
    highest: u64,
    assets: Vec<Sighting>,
    /// What private records tell of runs, with when, until all have been read: later ones know better.
    told: Vec<(String, NodeRef, RunRow)>,
    passed_over: Vec<String>,
}

impl StoreScan {
    /// Reads every manifest of the store. One that cannot be parsed is passed over and listed in `passed_over`; failing to read the
    /// store at all is an error.
    pub fn open(store: &Store) -> Result<Self, ShelfError> {
        let names = store.names(Object::Manifest)?;
        Self::of(store, &names)
    }

    /// As `open`, of these manifests in any shelf.
    pub fn of(shelf: &dyn Shelf, manifests: &[Sha256]) -> Result<Self, ShelfError> {
        let mut scan = Self::default();
        for name in manifests {
            scan.add_manifest(shelf, name)?;
        }
        scan.told.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        for (_, _, run) in std::mem::take(&mut scan.told) {
            scan.history.add_run(run);
        }
        for (run, head) in std::mem::take(&mut scan.heads) {
            scan.add_uses(shelf, run, head)?;
        }
        Ok(scan)
    }

    /// Manifests and input sets that could not be used, one line each.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The content that each manifest is about.
    pub fn assets(&self) -> Vec<Sighting> {
        self.assets.clone()
    }

    /// The highest version number that anything here mentions, of whatever node.
    pub fn highest_versions(&self) -> u64 {
        self.highest
    }

    /// Every row.
    pub fn into_rows(self) -> (Vec<VersionRow>, Vec<UseRow>, Vec<RunRow>) {
        self.history.into_rows()
    }

    fn add_manifest(&mut self, shelf: &dyn Shelf, name: &Sha256) -> Result<(), ShelfError> {
        let bytes = match shelf.object(Object::Manifest, name) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(()),
            Err(ShelfError::Damaged(text)) => {
                self.passed_over.push(text);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let statement = match read::peek(&bytes) {
            Ok(statement) => statement,
            Err(e) => {
                self.passed_over.push(format!("manifest {name}: {e}"));
                return Ok(());
            }
        };
        let reference = ManifestRef {
            sha256: *name,
            size: bytes.len() as u64,
        };
        let record = private(shelf, name);
        self.assets
            .push((*name, statement.asset.digests, statement.sealed_at.clone()));
        self.mention(NodeRef::Version(statement.version));
        for input in statement.inputs.iter().chain(&statement.parent) {
            self.add_input(input);
        }
        self.add_run(&statement, record.as_ref());
        // A version that was sealed twice (held, then proven) keeps the later statement.
        let node = NodeRef::Version(statement.version);
        let newer = self
            .history
            .version(node)
            .and_then(|old| old.sealed_at.clone())
            .is_none_or(|old| parse(&old) <= parse(&statement.sealed_at));
        if newer {
            let row = row(&statement, reference, record);
            if statement.members.is_some() {
                self.add_members(shelf, &statement, &row)?;
            }
            self.history.add_version(row);
        }
        Ok(())
    }

    /// The members of a registered set have no manifests of their own: the set's says what they are.
    fn add_members(
        &mut self,
        shelf: &dyn Shelf,
        set: &Statement,
        row: &VersionRow,
    ) -> Result<(), ShelfError> {
        let name = set.asset.digests.sha256;
        let bytes = match shelf.object(Object::Members, &name) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(()),
            Err(ShelfError::Damaged(text)) => {
                self.passed_over.push(text);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let list = match MemberList::decode(&bytes) {
            Ok(list) if set.members == Some(list.head()) => list,
            Ok(_) => {
                let text = format!("member list {name}: not the one that was signed");
                self.passed_over.push(text);
                return Ok(());
            }
            Err(e) => {
                self.passed_over.push(format!("member list {name}: {e}"));
                return Ok(());
            }
        };
        for member in list.members() {
            let node = NodeRef::Content(member.digests.blake3);
            // Below a directory whose path is not known no member has one either.
            let path = row.path.as_ref().map(|dir| {
                let dir = if dir.0.is_empty() {
                    vec![]
                } else {
                    [&dir.0[..], b"/"].concat()
                };
                PathBytes([&dir[..], &member.path.0].concat())
            });
            self.history.add_version(VersionRow {
                path,
                manifest: row.manifest,
                parent: Some(row.node),
                sealed_at: row.sealed_at.clone(),
                ..bare(node, Some(member.digests), State::Sealed)
            });
        }
        Ok(())
    }

    /// An input that has no manifest here is still a node of the graph, with the name that its user's manifest gives it.
    fn add_input(&mut self, input: &Input) {
        self.mention(input.node);
        if self.history.version(input.node).is_none() {
            let mut row = bare(input.node, input.digests, input.state);
            row.media_type = Some(input.media_type.clone());
            row.title.clone_from(&input.title);
            self.history.add_version(row);
        }
    }

    fn add_run(&mut self, statement: &Statement, record: Option<&PrivateRecord>) {
        let Origin::Run(run) = &statement.origin else {
            return;
        };
        let head = self.heads.entry(run.id).or_insert(statement.input_set);
        if statement.input_set.size > head.size {
            *head = statement.input_set;
        }
        let told = record
            .and_then(|r| r.run.clone())
            .filter(|r| r.id == run.id);
        if let Some(told) = told {
            let node = NodeRef::Version(statement.version);
            self.told.push((statement.sealed_at.clone(), node, told));
        } else if self.history.head(run.id).is_none() {
            self.history.add_run(public_run(run));
        }
    }

    fn add_uses(&mut self, shelf: &dyn Shelf, run: RunId, head: SetHead) -> Result<(), ShelfError> {
        let fetch = |root: &Sha256| shelf.object(Object::Inputs, root);
        let leaves = match set::collect(head, &fetch) {
            Ok(leaves) => leaves,
            Err(set::SetError::Shelf(e @ (ShelfError::Io { .. } | ShelfError::Daemon(_)))) => {
                return Err(e);
            }
            Err(e) => {
                self.passed_over.push(format!("input set of {run}: {e}"));
                return Ok(());
            }
        };
        let count = leaves.len() as u64;
        for (order, leaf) in (0..).zip(leaves) {
            self.mention(leaf.node);
            if self.history.version(leaf.node).is_none() {
                self.history
                    .add_version(bare(leaf.node, leaf.digests, leaf.state));
            }
            self.history.add_use(UseRow {
                run,
                order,
                node: leaf.node,
                kind: leaf.kind,
                process: leaf.process,
                tree: leaf.tree,
                path: None,
            });
        }
        if let Some(mut row) = self.history.run(run)? {
            row.uses = row.uses.max(count);
            self.history.add_run(row);
        }
        Ok(())
    }

    fn mention(&mut self, node: NodeRef) {
        // Nobody can seal a larger number; whoever writes one into a manifest of his own does not use up ours.
        if let NodeRef::Version(v) = node
            && i64::try_from(v.n).is_ok()
        {
            self.highest = self.highest.max(v.n);
        }
    }
}

/// The private record of a manifest, when it may be read, can be parsed, and says that it belongs to it.
fn private(shelf: &dyn Shelf, manifest: &Sha256) -> Option<PrivateRecord> {
    let bytes = shelf.object(Object::Private, manifest).ok()??;
    PrivateRecord::decode(&bytes)
        .ok()
        .filter(|r| r.manifest == *manifest)
}

/// What the manifest says wins over what the private record remembers, which nobody signed.
fn row(statement: &Statement, manifest: ManifestRef, record: Option<PrivateRecord>) -> VersionRow {
    let node = NodeRef::Version(statement.version);
    let base = record
        .map(|r| r.row)
        .filter(|r| r.node == node)
        .unwrap_or_else(|| bare(node, None, State::Sealed));
    let (run, process, tree) = match &statement.origin {
        Origin::Run(run) => (Some(run.id), run.process, run.tree),
        Origin::Registered { .. } => (None, 0, 0),
    };
    VersionRow {
        title: statement.title.clone(),
        digests: Some(statement.asset.digests),
        state: if base.state == State::Logged {
            State::Logged
        } else {
            State::Sealed
        },
        reason: None,
        closed: run.map(|_| statement.closed),
        status: statement.status,
        quiet: Some(statement.quiet),
        cut: Some(statement.cut),
        run,
        process,
        tree,
        inputs: statement.input_set.size,
        parent: statement.parent.as_ref().map(|p| p.node),
        manifest: Some(manifest),
        input_set: Some(statement.input_set),
        members: statement.members,
        media_type: Some(statement.asset.media_type.clone()),
        sealed_at: Some(statement.sealed_at.clone()),
        ..base
    }
}

/// A node of which no more is known.
fn bare(node: NodeRef, digests: Option<Digests>, state: State) -> VersionRow {
    VersionRow {
        node,
        path: None,
        title: None,
        gone: false,
        digests,
        state,
        reason: None,
        closed: None,
        status: None,
        quiet: None,
        cut: None,
        run: None,
        process: 0,
        tree: 0,
        inputs: 0,
        parent: None,
        copied: Vec::new(),
        ephemeral: false,
        manifest: None,
        input_set: None,
        members: None,
        media_type: None,
        ended_at: None,
        sealed_at: None,
        identity: None,
    }
}

/// What a manifest says of its run without the private record.
fn public_run(run: &RunStatement) -> RunRow {
    RunRow {
        id: run.id,
        name: run.name.clone(),
        meta: run.meta.clone(),
        how: run.how,
        uid: 0,
        host: None,
        cwd: None,
        exe: Some(run.program.as_str().into()),
        argv: Vec::new(),
        script: None,
        git: run.git.clone(),
        python: run.python.clone(),
        confined: run.confined,
        started: run.started.clone(),
        ended: None,
        exit: None,
        uses: 0,
        processes: Vec::new(),
    }
}

fn parse(time: &str) -> Option<jiff::Timestamp> {
    time.parse().ok()
}

impl Catalogue for StoreScan {
    fn by_path(&self, path: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        self.history.by_path(path)
    }
    fn by_digest(&self, digest: &DigestPrefix) -> Result<Vec<VersionRow>, ShelfError> {
        self.history.by_digest(digest)
    }
    fn versions(&self, nodes: &[NodeRef]) -> Result<Vec<Option<VersionRow>>, ShelfError> {
        self.history.versions(nodes)
    }
    fn written_by(&self, run: RunId) -> Result<Vec<VersionRow>, ShelfError> {
        self.history.written_by(run)
    }
    fn run(&self, id: RunId) -> Result<Option<RunRow>, ShelfError> {
        self.history.run(id)
    }
    fn runs(&self) -> Result<Vec<RunRow>, ShelfError> {
        self.history.runs()
    }
    fn uses(&self, run: RunId, below: u64) -> Result<Vec<UseRow>, ShelfError> {
        self.history.uses(run, below)
    }
    fn users(&self, node: NodeRef) -> Result<Vec<UseRow>, ShelfError> {
        self.history.users(node)
    }
    fn under(&self, dir: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        self.history.under(dir)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::vocabulary::{Confined, RunHow};

    /// A sealed version of which nothing else is known.
    pub(crate) fn version_row(node: NodeRef) -> VersionRow {
        bare(node, None, State::Sealed)
    }

    /// A run of which nothing else is known.
    pub(crate) fn run_row(id: RunId) -> RunRow {
        RunRow {
            id,
            name: None,
            meta: Vec::new(),
            how: RunHow::Tree,
            uid: 0,
            host: None,
            cwd: None,
            exe: None,
            argv: Vec::new(),
            script: None,
            git: None,
            python: None,
            confined: Confined::Confined,
            started: format!("2026-01-01T00:00:{:02}Z", id.n % 60),
            ended: None,
            exit: None,
            uses: 0,
            processes: Vec::new(),
        }
    }
}
