//! What the ledger need not remember: files at rest that no living run used, and runs that are over. The index knows them, and
//! an open asks it for what the ledger does not know. Not how memory is laid out: see `nodes`.

use std::collections::{BTreeSet, HashSet};

use atlas_manifests::id::RunId;
use atlas_manifests::vocabulary::{Quiet, State};

use super::Ledger;
use super::file::FileState;
use super::node::{Named, Node, NodeIx, Phase};

/// Nothing is looked for below so many nodes.
const FEW: usize = 8192;
/// A file at which nothing happened for so many beats is at rest: what was told of it has reached the index by then.
const REST: u64 = 20;
/// A run with so many uses is worth looking for what it leaves.
const MANY: usize = 1024;

/// When to look, and what must not be forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    beats: u64,
    /// Look when there are so many nodes: twice what was left the last time, so that looking costs each node little.
    at: usize,
    /// Look at this beat, whatever there is.
    soon: Option<u64>,
    /// Sealed while somebody could still write: a second digest may follow.
    pub held: BTreeSet<NodeIx>,
}

impl Forgetting {
    pub(super) fn beat(&self) -> u64 {
        self.beats
    }
}

impl Ledger {
    /// Time goes on: called at even intervals.
    pub fn beat(&mut self) {
        self.forgetting.beats += 1;
        let now = self.forgetting.beats;
        let due = self.forgetting.soon.is_some_and(|at| at <= now);
        if due || self.nodes.len() >= self.forgetting.at.max(FEW) {
            self.forget();
            self.forgetting.soon = None;
            self.forgetting.at = self.nodes.len() * 2;
        }
    }

    /// A run is over, has nothing on its way, and nobody can name it any more.
    pub fn forget_run(&mut self, run: RunId) {
        self.merged
            .retain(|absorbed, (into, _)| *absorbed != run && *into != run);
        if self.runs.remove(&run).is_some_and(|u| u.list.len() >= MANY) {
            self.forgetting.soon = Some(self.forgetting.beats + REST);
        }
    }

    /// True while a version of the run may be sealed a second time.
    pub(super) fn may_be_proven(&self, run: RunId) -> bool {
        self.forgetting.held.iter().any(|ix| {
            let authored = self.nodes.get(*ix).and_then(|n| n.authored.as_ref());
            authored.is_some_and(|a| a.run == run)
        })
    }

    /// Time passes in which nothing happens.
    #[cfg(test)]
    pub(super) fn rest(&mut self) {
        self.forgetting.beats += REST;
        self.forget();
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.files.len(), self.runs.len())
    }

    fn forget(&mut self) {
        // Only recovery, long over, asks by these names; and its runs have nobody who could end them.
        for ix in std::mem::take(&mut self.restored).into_values() {
            let run = self
                .nodes
                .get(ix)
                .and_then(|n| n.authored.as_ref())
                .map(|a| a.run);
            if let Some(run) = run.filter(|run| !self.busy(*run)) {
                self.runs.remove(&run);
            }
        }
        let nodes = &self.nodes;
        self.forgetting.held.retain(|ix| {
            nodes.get(*ix).is_some_and(|n| {
                n.quiet == Some(Quiet::Held) && n.phase == Phase::Settled(State::Sealed) && !n.gone
            })
        });
        let kept = self.needed();
        let mut dropped = Vec::new();
        let (now, nodes) = (self.forgetting.beats, &self.nodes);
        self.files.retain(|key, file| {
            let keep =
                stays(file, now) || file.current.is_some_and(|c| kept.contains(&nodes.real(c)));
            if !keep {
                dropped.push((*key, file.path.clone()));
            }
            // Nothing but the file may point to what turned out to be another node.
            file.current = file.current.map(|c| nodes.real(c));
            keep
        });
        for (key, path) in dropped {
            self.by_path.drop_file(key, &path);
        }
        self.by_name(&kept);
        self.sets.retain(|_, ix| kept.contains(ix));
        self.nodes.retain(|ix| kept.contains(&ix));
    }

    /// All that something at work points to.
    fn needed(&self) -> HashSet<NodeIx> {
        let now = self.forgetting.beats;
        let mut found: Vec<NodeIx> = Vec::new();
        for file in self.files.values().filter(|f| stays(f, now)) {
            found.extend(file.current);
            if let Some(w) = &file.writing {
                found.push(w.node);
                found.extend(w.parent.iter().chain(&w.copied));
            }
        }
        found.extend(
            self.runs
                .values()
                .flat_map(|r| r.list.iter().map(|u| u.node)),
        );
        found.extend(self.unsettled.iter().chain(&self.forgetting.held));
        let at_work = |n: &Node| !matches!(n.phase, Phase::Settled(_) | Phase::Same(_));
        found.extend(
            self.nodes
                .iter()
                .filter(|(_, n)| at_work(n))
                .map(|(ix, _)| ix),
        );
        let mut kept = HashSet::new();
        while let Some(ix) = found.pop() {
            let Some(node) = self.nodes.get(ix).filter(|_| kept.insert(ix)) else {
                continue;
            };
            if let Phase::Same(other) = node.phase {
                found.push(other);
            }
            found.extend(node.set.iter().chain(&node.before).chain(&node.dependents));
            // Of what has come to rest only the names of its origins are told again.
            if let Some(a) = &node.authored
                && (!node.settled() || self.forgetting.held.contains(&ix))
            {
                found.extend(a.parent.iter().chain(&a.copied));
            }
        }
        kept
    }

    /// Origins that are about to be forgotten are known by name from now on.
    fn by_name(&mut self, kept: &HashSet<NodeIx>) {
        let mut changed = Vec::new();
        for (ix, node) in self.nodes.iter().filter(|(ix, _)| kept.contains(ix)) {
            let Some(a) = &node.authored else { continue };
            let goes = |n: &&NodeIx| !kept.contains(n);
            if a.parent.iter().chain(&a.copied).any(|n| goes(&n)) {
                let name = |n: &NodeIx| self.id_of(*n);
                let parent = a.parent.as_ref().filter(goes).and_then(name);
                let copied = a.copied.iter().filter(goes).filter_map(name).collect();
                changed.push((ix, Named { parent, copied }));
            }
        }
        for (ix, gone) in changed {
            if let Some(a) = &mut self.at(ix).authored {
                a.parent = a.parent.filter(|p| kept.contains(p));
                a.copied.retain(|c| kept.contains(c));
                a.named.parent = gone.parent.or(a.named.parent);
                a.named.copied.extend(gone.copied);
            }
        }
    }
}

/// Something may still happen to the file's own versions.
fn stays(file: &FileState, now: u64) -> bool {
    !file.writers.is_empty()
        || !file.readers.is_empty()
        || file.writing.is_some()
        || file.touched + REST > now
}

#[cfg(test)]
mod tests {
    use atlas_manifests::bytes::PathBytes;
    use atlas_manifests::digest::Digests;
    use atlas_manifests::vocabulary::Closed;

    use super::super::testing::{Bench, CREATE, READ, who};
    use super::super::{Digested, Undigested};
    use super::*;

    #[test]
    fn a_run_that_is_over_takes_no_memory_and_what_it_read_is_found_again() {
        let mut b = Bench::new();
        for file in 0..100 {
            b.given(file, &[7, u8::try_from(file).unwrap()]);
            b.read_file(file, who(1, 0));
        }
        b.write_file(100, b"out", who(1, 0));
        b.settle();
        assert!(!b.ledger.busy(who(1, 0).run));
        b.ledger.rest();
        assert_eq!(b.ledger.remembered().0, 100, "a living run's uses stay");
        b.ledger.forget_run(who(1, 0).run);
        b.ledger.rest();
        assert_eq!(b.ledger.remembered(), (0, 0, 0));
        b.read_file(3, who(2, 0));
        b.read_file(100, who(2, 0));
        b.write_file(101, b"more", who(2, 0));
        b.settle();
        assert_eq!(
            b.inputs(101),
            [Digests::of(&[7, 3]), Digests::of(b"out")],
            "by what the index knows of them"
        );
    }

    #[test]
    fn a_file_that_is_read_again_after_a_rest_is_no_second_input() {
        let mut b = Bench::new();
        b.given(1, b"data");
        b.read_file(1, who(1, 0));
        b.settle();
        b.ledger.rest();
        b.read_file(1, who(1, 0));
        b.write_file(2, b"out", who(1, 0));
        b.settle();
        assert_eq!(b.inputs(2), [Digests::of(b"data")]);
    }

    #[test]
    fn a_version_still_names_its_parent_when_the_parent_is_forgotten() {
        let mut b = Bench::new();
        b.write_file(1, b"one", who(1, 0));
        b.settle();
        let first = b.row(1).unwrap().node;
        b.write_file(1, b"two", who(1, 0));
        b.settle();
        b.read_file(1, who(2, 0));
        b.ledger.forget_run(who(1, 0).run);
        b.ledger.rest();
        assert_eq!(b.ledger.remembered().0, 1, "run 2 used the second");
        b.ledger
            .renamed(&PathBytes::from("f1"), &PathBytes::from("g"), None);
        b.collect();
        let row = &b.rows[&b.row(1).unwrap().node.to_string()];
        assert_eq!(
            (row.parent, row.path.clone()),
            (Some(first), Some("g".into()))
        );
    }

    #[test]
    fn a_version_that_may_be_proven_later_keeps_its_run() {
        let mut b = Bench::new();
        let p = who(1, 0);
        b.given(1, b"in");
        b.read_file(1, p);
        let handle = b.open(2, CREATE, p);
        b.store(2, b"out");
        b.flush(handle, 2, p, Closed::Explicit);
        let ticket = b.holds.remove(0);
        b.settle();
        let digested = |b: &Bench, quiet| Digested {
            digests: Digests::of(b"out"),
            quiet,
            identity: b.identity(2),
            media_type: "application/octet-stream".to_owned(),
            types: Vec::new(),
            known: None,
        };
        let held = digested(&b, Quiet::Held);
        b.ledger.digested(ticket, held);
        b.collect();
        b.settle();
        b.release(handle, 2);
        assert!(b.ledger.busy(p.run), "its heir may be there still");
        let proven = digested(&b, Quiet::Proven);
        b.ledger.digested(ticket, proven);
        b.collect();
        b.settle();
        assert_eq!(b.sealed.len(), 2);
        assert_eq!(b.inputs(2), [Digests::of(b"in")]);
        b.ledger.rest();
        assert!(!b.ledger.busy(p.run));
    }

    /// Held, asked for its bytes again, found to be the same, and let go: the file's content is a node that is another one.
    #[test]
    fn a_file_whose_content_turned_out_to_be_an_older_node_can_still_be_opened_after_a_rest() {
        let mut b = Bench::new();
        let p = who(1, 0);
        let handle = b.open(2, CREATE, p);
        b.store(2, b"out");
        b.flush(handle, 2, p, Closed::Explicit);
        let ticket = b.holds.remove(0);
        let held = Digested {
            digests: Digests::of(b"out"),
            quiet: Quiet::Held,
            identity: b.identity(2),
            media_type: "application/octet-stream".to_owned(),
            types: Vec::new(),
            known: None,
        };
        b.ledger.digested(ticket, held);
        b.collect();
        b.settle();
        b.read_file(2, who(2, 0));
        let now = b.identity(2);
        b.ledger.undigested(ticket, Undigested::Changed(now));
        b.collect();
        b.settle();
        b.release(handle, 2);
        b.settle();
        b.ledger.forget_run(p.run);
        b.ledger.rest();
        b.read_file(2, who(3, 0));
        assert_eq!(b.state(2), Some(State::Sealed));
    }

    #[test]
    fn an_open_file_is_remembered_however_long_nothing_happens() {
        let mut b = Bench::new();
        b.given(1, b"data");
        let handle = b.open(1, READ, who(1, 0));
        b.settle();
        b.ledger.forget_run(who(1, 0).run);
        b.ledger.rest();
        assert_eq!(b.ledger.remembered().1, 1);
        b.release(handle, 1);
        b.ledger.rest();
        assert_eq!(b.ledger.remembered(), (0, 0, 0));
    }
}
