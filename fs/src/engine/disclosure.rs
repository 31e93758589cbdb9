//! Who may know what: a caller of the control channel sees only what it could read as itself.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::{DigestPrefix, Sha256};
use atlas_manifests::id::RunId;
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};
use atlas_manifests::set::MemberList;
use atlas_manifests::shelf::{Catalogue as _, Object, Shelf as _};

use super::Engine;
use crate::control::Peer;
use crate::program::access;

/// One peer's view, for the length of one request.
pub(super) struct View<'a> {
    engine: &'a Engine,
    peer: &'a Peer,
    readable: HashMap<PathBuf, bool>,
    runs: HashMap<RunId, bool>,
}

impl<'a> View<'a> {
    pub(super) fn new(engine: &'a Engine, peer: &'a Peer) -> Self {
        Self {
            engine,
            peer,
            readable: HashMap::new(),
            runs: HashMap::new(),
        }
    }

    /// The daemon's own user and root see everything.
    pub(super) fn all(&self) -> bool {
        self.peer.uid == 0 || self.peer.uid == rustix::process::geteuid().as_raw()
    }

    /// Whether the peer could open this file below SOURCE for reading.
    pub(super) fn reads(&mut self, path: &Path) -> bool {
        if self.all() {
            return true;
        }
        if let Some(known) = self.readable.get(path) {
            return *known;
        }
        let answer = self.open(path).is_ok();
        self.readable.insert(path.to_owned(), answer);
        answer
    }

    /// Opens a file or directory below SOURCE as the peer would: what it may not read is not opened, whatever lies there by now.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        if self.all() {
            return self.engine.backing.open_path(path);
        }
        access::as_user(self.peer.uid, self.peer.gid, &self.peer.groups, || {
            self.engine.backing.open_path(path)
        })?
    }

    /// Whether the peer could list the members of the set whose list has this name: they are paths, which no manifest says.
    pub(super) fn lists(&mut self, name: &Sha256) -> bool {
        if self.all() {
            return true;
        }
        let prefix = DigestPrefix {
            alg: Some("sha256"),
            hex: name.hex(),
        };
        let rows = self.engine.index.by_digest(&prefix).unwrap_or_default();
        let tops: Vec<PathBytes> = rows
            .into_iter()
            .filter(|r| r.members.is_some())
            .filter_map(|r| r.path)
            .filter(|p| self.reads(p.as_path()))
            .collect();
        if tops.is_empty() {
            return false;
        }
        let list = self.engine.store.object(Object::Members, name);
        let Some(list) = list
            .ok()
            .flatten()
            .and_then(|b| MemberList::decode(&b).ok())
        else {
            return false;
        };
        let dirs: BTreeSet<&Path> = list
            .members()
            .iter()
            .filter_map(|m| m.path.as_path().parent())
            .collect();
        tops.iter()
            .any(|top| dirs.iter().all(|d| self.reads(&top.as_path().join(d))))
    }

    fn owns(&mut self, run: RunId) -> bool {
        if let Some(known) = self.runs.get(&run) {
            return *known;
        }
        let row = self
            .engine
            .run_row(run)
            .or_else(|| self.engine.index.run(run).ok().flatten());
        let answer = row.is_some_and(|r| r.uid == self.peer.uid);
        self.runs.insert(run, answer);
        answer
    }

    pub(super) fn version(&mut self, mut row: VersionRow) -> VersionRow {
        if self.all() {
            return row;
        }
        let known = match (&row.path, row.run) {
            (_, Some(run)) if self.owns(run) => true,
            (Some(path), _) if !row.gone => self.reads(path.as_path()),
            _ => false,
        };
        if !known {
            row.path = None;
            row.title = None;
            row.identity = None;
            row.reason = None;
        }
        row
    }

    pub(super) fn used(&mut self, mut row: UseRow) -> UseRow {
        let known = self.all()
            || self.owns(row.run)
            || row.path.as_ref().is_some_and(|p| self.reads(p.as_path()));
        if !known {
            row.path = None;
        }
        row
    }

    pub(super) fn run(&mut self, mut row: RunRow) -> RunRow {
        if !self.all() && row.uid != self.peer.uid {
            row.argv.clear();
            row.cwd = None;
            row.exe = None;
            row.script = None;
            row.host = None;
            for p in &mut row.processes {
                p.argv.clear();
                p.exe = None;
            }
        }
        row
    }
}
