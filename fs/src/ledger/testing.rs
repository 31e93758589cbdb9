//! A bench for the ledger's tests: files, processes and a clock that are plain numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::id::{InstanceId, NodeId, NodeRef, RunId, VersionId};
use atlas_manifests::rows::{FileIdentity, UseRow, VersionRow};
use atlas_manifests::set::Leaf;
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::vocabulary::{Closed, Quiet, State};

use super::{Digested, Effect, Flush, Known, Ledger, Opening, Plan, Ticket, Undigested};
use crate::caller::{Merge, Who};
use crate::vfs::observer::{Access, FileKey, HandleId, Tgid};

pub(super) const READ: Access = Access {
    read: true,
    write: false,
    truncate: false,
    created: false,
    exec: false,
};
pub(super) const APPEND: Access = Access {
    read: false,
    write: true,
    truncate: false,
    created: false,
    exec: false,
};
pub(super) const CREATE: Access = Access {
    read: false,
    write: true,
    truncate: true,
    created: true,
    exec: false,
};
pub(super) const REWRITE: Access = Access {
    read: false,
    write: true,
    truncate: true,
    created: false,
    exec: false,
};
pub(super) const UPDATE: Access = Access {
    read: true,
    write: true,
    truncate: false,
    created: false,
    exec: false,
};

/// Process `process` of run `run`; each process is a tree of its own unless told otherwise.
pub(super) fn who(run: u64, process: u32) -> Who {
    let run = RunId {
        instance: InstanceId([1; 16]),
        n: run,
    };
    Who {
        run,
        process,
        tree: process,
        tgid: Tgid(i32::try_from(run.n * 100).unwrap() + i32::try_from(process).unwrap() + 1),
    }
}

pub(super) fn key(file: u64) -> FileKey {
    FileKey {
        dev: 1,
        ino: file,
        born: 0,
    }
}

/// A ledger, the files it is told about, and what it wanted done.
pub(super) struct Bench {
    pub ledger: Ledger,
    clock: i128,
    handles: u64,
    excluded: BTreeSet<u64>,
    /// Identity and content of each file.
    pub files: HashMap<u64, (FileIdentity, Vec<u8>)>,
    pub digests: Vec<(Ticket, u64, Option<FileIdentity>)>,
    /// Copies that wait for their digest.
    pub kept: Vec<(Ticket, FileIdentity, Vec<u8>)>,
    pub holds: Vec<Ticket>,
    pub plans: Vec<Plan>,
    pub rows: HashMap<String, VersionRow>,
    pub uses: Vec<UseRow>,
    /// Versions that the next life would seal.
    pub journal: BTreeSet<String>,
    /// What the version that was journaled last would be found by.
    pub found_by: Option<FileIdentity>,
    pub leaves: HashMap<RunId, Vec<Leaf>>,
    /// Every plan that was sealed, with the leaves before its cut.
    pub sealed: Vec<(Plan, Vec<Leaf>)>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            ledger: Ledger::new(NodeId([7; 16]), 1),
            clock: 1,
            handles: 0,
            excluded: BTreeSet::new(),
            files: HashMap::new(),
            digests: Vec::new(),
            kept: Vec::new(),
            holds: Vec::new(),
            plans: Vec::new(),
            rows: HashMap::new(),
            uses: Vec::new(),
            journal: BTreeSet::new(),
            found_by: None,
            leaves: HashMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Puts a file there that nobody was seen to write.
    pub(super) fn given(&mut self, file: u64, content: &[u8]) {
        self.put(file, content);
    }

    fn put(&mut self, file: u64, content: &[u8]) {
        self.clock += 1;
        let size = content.len() as u64;
        let identity = FileIdentity {
            dev: 1,
            ino: file,
            born: 0,
            size,
            mtime: self.clock,
            ctime: self.clock,
        };
        self.files.insert(file, (identity, content.to_vec()));
    }

    /// Sets times through the mount.
    pub(super) fn touch(&mut self, file: u64) {
        let (before, content) = self.files[&file].clone();
        self.put(file, &content);
        let now = self.identity(file);
        self.ledger.restated(key(file), &before, (now, now));
        self.collect();
    }

    /// What was told of the graph holds together: every use leads to something that is there, and nothing is for ever on its way.
    pub(super) fn inconsistencies(&self) -> Vec<String> {
        // A later row replaces an earlier one of the same place.
        let uses: BTreeMap<_, _> = self.uses.iter().map(|u| ((u.run, u.order), u)).collect();
        let lost = uses.into_values().filter(|u| {
            matches!(u.node, NodeRef::Version(_)) && !self.rows.contains_key(&u.node.to_string())
        });
        let unfinished = self.rows.values().filter(|r| {
            matches!(
                r.state,
                State::Open | State::Held | State::Digesting | State::Waiting
            )
        });
        let sealed = |node: &String| {
            let row = self.rows.get(node);
            row.is_some_and(|r| !matches!(r.state, State::Digesting | State::Waiting))
        };
        let forgotten = self.journal.iter().filter(|n| !sealed(n));
        lost.map(|u| format!("a use of what is not there: {u:?}"))
            .chain(unfinished.map(|r| format!("on its way for ever: {r:?}")))
            .chain(forgotten.map(|n| format!("ended, says the journal, and is not there: {n}")))
            .collect()
    }

    /// Its name changes through the mount: of the times only ctime moves.
    pub(super) fn rename(&mut self, file: u64) {
        let before = self.identity(file);
        self.shift_ctime(file);
        let now = self.identity(file);
        self.ledger.restated(key(file), &before, (now, now));
        self.collect();
    }

    /// The file's times change, and nobody tells.
    pub(super) fn shift(&mut self, file: u64) {
        if let Some((_, content)) = self.files.get(&file).cloned() {
            self.put(file, &content);
        }
    }

    /// The same, and nobody tells.
    fn shift_ctime(&mut self, file: u64) {
        self.clock += 1;
        if let Some((identity, _)) = self.files.get_mut(&file) {
            identity.ctime = self.clock;
        }
    }

    pub(super) fn identity(&self, file: u64) -> FileIdentity {
        self.files[&file].0
    }

    /// The handle of the last open.
    pub(super) fn last_opened(&self) -> HandleId {
        HandleId(self.handles)
    }

    pub(super) fn open(&mut self, file: u64, access: Access, by: Who) -> HandleId {
        self.handles += 1;
        let handle = HandleId(self.handles);
        let absent = FileIdentity {
            dev: 1,
            ino: file,
            born: 0,
            size: 0,
            mtime: 0,
            ctime: 0,
        };
        let before = self.files.get(&file).map_or(absent, |f| f.0);
        // The engine asks the index, which has every row.
        let known = self
            .rows
            .values()
            .filter(|_| !self.ledger.knows(key(file)))
            .find(|r| r.identity == Some(before) && !r.gone)
            .and_then(|r| {
                Some(Known {
                    node: r.node,
                    path: r.path.clone()?,
                    digests: r.digests?,
                    manifest: r.manifest,
                    media_type: r.media_type.clone(),
                    state: r.state,
                    set: None,
                })
            });
        self.ledger.opened(Opening {
            removed: false,
            handle,
            file: key(file),
            path: PathBytes::from(format!("f{file}").as_str()),
            access,
            before,
            who: vec![by],
            known,
            excluded: self.excluded.contains(&file),
            code: false,
            inline: false,
        });
        if access.truncate {
            self.put(file, b"");
        }
        self.collect();
        handle
    }

    /// Passthrough: the file changes, and nobody tells the ledger.
    pub(super) fn store(&mut self, file: u64, content: &[u8]) {
        self.put(file, content);
    }

    pub(super) fn flush(&mut self, handle: HandleId, file: u64, by: Who, closed: Closed) {
        let now = self.identity(file);
        self.ledger.flushed(&Flush {
            handle,
            who: by,
            for_shell: false,
            closed,
            status: None,
            now,
        });
        self.collect();
    }

    /// A command that a shell started with a redirect closes its copy.
    pub(super) fn heir_of_shell_closes(
        &mut self,
        handle: HandleId,
        file: u64,
        by: Who,
        closed: Closed,
    ) {
        // The engine asks the callers, who know the other's processes.
        if let Some(first) = self.ledger.heir(handle).filter(|r| *r != by.run) {
            self.ledger.merge(&Merge {
                absorbed: first,
                into: by.run,
                processes: 100,
                copy: Some(by.tree),
            });
        }
        let now = self.identity(file);
        self.ledger.flushed(&Flush {
            handle,
            who: by,
            for_shell: true,
            closed,
            status: None,
            now,
        });
        self.collect();
    }

    pub(super) fn release(&mut self, handle: HandleId, file: u64) {
        let now = self.identity(file);
        self.ledger.released(handle, Some(&now));
        self.collect();
    }

    /// close(2) by the only holder.
    pub(super) fn close(&mut self, handle: HandleId, file: u64, by: Who) {
        self.flush(handle, file, by, Closed::Explicit);
        self.release(handle, file);
    }

    pub(super) fn write_file(&mut self, file: u64, content: &[u8], by: Who) {
        let access = if self.files.contains_key(&file) {
            REWRITE
        } else {
            CREATE
        };
        let handle = self.open(file, access, by);
        self.store(file, content);
        self.close(handle, file, by);
    }

    pub(super) fn read_file(&mut self, file: u64, by: Who) {
        let handle = self.open(file, READ, by);
        self.close(handle, file, by);
    }

    pub(super) fn collect(&mut self) {
        for effect in self.ledger.take_effects() {
            match effect {
                Effect::Digest {
                    ticket,
                    file,
                    expect,
                    ..
                } => self.digests.push((ticket, file.ino, expect)),
                Effect::Hold { ticket } => self.holds.push(ticket),
                Effect::Version(row) => {
                    self.rows.insert(row.node.to_string(), *row);
                }
                Effect::Use(row) => self.uses.push(row),
                Effect::Seal(plan) => self.plans.push(*plan),
                Effect::Ended(row) => {
                    self.found_by = row.identity;
                    self.journal.insert(row.node.to_string());
                }
                Effect::Withdrawn(version) => {
                    self.journal.remove(&NodeRef::Version(version).to_string());
                }
                Effect::Used(_) | Effect::Moved(_) => {}
            }
        }
    }

    /// A writer is about to come, nobody else is there, and the store can share blocks: a copy is taken of what is at stake.
    pub(super) fn keep(&mut self, file: u64) -> bool {
        let Some(expect) = self.ledger.at_stake(key(file)) else {
            return false;
        };
        let (now, content) = self.files[&file].clone();
        if expect.is_some_and(|e| (e.size, e.mtime) != (now.size, now.mtime)) {
            return false;
        }
        let kept = self.ledger.kept(key(file), &now);
        let (ticket, _) = kept.expect("nothing has happened since");
        self.kept.push((ticket, now, content));
        self.collect();
        true
    }

    /// Digests a copy.
    pub(super) fn digest_kept(&mut self, at: usize) {
        let (ticket, identity, content) = self.kept.remove(at);
        self.digested(ticket, Quiet::Proven, (identity, content));
    }

    /// Digests a file as it is, with somebody there who could write.
    pub(super) fn digest_as_held(&mut self, ticket: Ticket, file: u64) {
        let now = self.files[&file].clone();
        self.digested(ticket, Quiet::Held, now);
    }

    fn digested(
        &mut self,
        ticket: Ticket,
        quiet: Quiet,
        (identity, content): (FileIdentity, Vec<u8>),
    ) {
        let d = Digested {
            digests: Digests::of(&content),
            quiet,
            identity,
            media_type: "application/octet-stream".to_owned(),
            types: Vec::new(),
            known: None,
        };
        self.ledger.digested(ticket, d);
        self.collect();
    }

    /// Digests one queued job, and tells of it only after `meanwhile`.
    pub(super) fn digest_one_late(&mut self, at: usize, meanwhile: impl FnOnce(&mut Self)) {
        let (ticket, file, _) = self.digests.remove(at);
        let (identity, content) = self.files[&file].clone();
        meanwhile(self);
        self.digested(ticket, Quiet::Proven, (identity, content));
    }

    /// Digests one queued job, as the pool would.
    pub(super) fn digest_one(&mut self, at: usize) {
        let (ticket, file, expect) = self.digests.remove(at);
        match self.files.get(&file).cloned() {
            Some((identity, _))
                if expect.is_some_and(|e| (e.size, e.mtime) != (identity.size, identity.mtime)) =>
            {
                self.ledger
                    .undigested(ticket, Undigested::Changed(identity));
            }
            Some(now) => self.digested(ticket, Quiet::Proven, now),
            None => self.ledger.undigested(ticket, Undigested::Gone),
        }
        self.collect();
    }

    pub(super) fn seal_one(&mut self) {
        let plan = self.plans.remove(0);
        let leaves = self.leaves.entry(plan.run).or_default();
        leaves.extend(plan.leaves.clone());
        let before = leaves[..usize::try_from(plan.cut).unwrap()].to_vec();
        self.ledger.sealed(
            plan.ticket,
            ManifestRef {
                sha256: manifest_of(plan.version),
                size: 1,
            },
        );
        self.sealed.push((plan, before));
        self.collect();
    }

    /// Digests and seals until nothing is left to do.
    pub(super) fn settle(&mut self) {
        while !self.digests.is_empty() || !self.kept.is_empty() || !self.plans.is_empty() {
            while !self.kept.is_empty() {
                self.digest_kept(0);
            }
            while !self.digests.is_empty() {
                self.digest_one(0);
            }
            while !self.plans.is_empty() {
                self.seal_one();
            }
        }
    }

    /// The row of a file's own version.
    pub(super) fn row(&self, file: u64) -> Option<VersionRow> {
        self.ledger.file_state(key(file)).and_then(|(_, row)| row)
    }

    pub(super) fn state(&self, file: u64) -> Option<State> {
        self.ledger.file_state(key(file)).map(|(state, _)| state)
    }

    /// Digests of the inputs of the version of `file` that was sealed last, without code and open ones.
    pub(super) fn inputs(&self, file: u64) -> Vec<Digests> {
        let node = self.row(file).map(|r| r.node);
        let (_, leaves) = self
            .sealed
            .iter()
            .rfind(|(p, _)| Some(p.row.node) == node)
            .expect("the file was sealed");
        leaves.iter().filter_map(|l| l.digests).collect()
    }

    /// True when its digest is not wanted any more.
    pub(super) fn unlink(&mut self, file: u64) -> bool {
        let unwanted = self.ledger.unlinked(
            key(file),
            &PathBytes::from(format!("f{file}").as_str()),
            true,
        );
        self.collect();
        unwanted
    }

    /// The configuration leaves this file out.
    pub(super) fn exclude(&mut self, file: u64) {
        self.excluded.insert(file);
    }
}

pub(super) fn manifest_of(version: VersionId) -> Sha256 {
    Sha256::of(version.to_string().as_bytes())
}
