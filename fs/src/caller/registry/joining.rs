//! How a process finds its run and tree, and how runs become one when data goes from one to the other. Pure bookkeeping.

use std::collections::BTreeSet;

use atlas_manifests::id::RunId;
use atlas_manifests::rows::ProcessRow;
use atlas_manifests::vocabulary::RunHow;

use super::{Decision, End, Flow, Merge, ProcessKey, Registry, Source, Who, worse};

impl Registry {
    pub(super) fn place(&mut self, decision: &Decision, flow: &Flow, now: &str) -> (u64, u32) {
        let met = self.pipes.trees(flow);
        let found = match &decision.source {
            Source::Declared(run) => self.number(*run),
            source => self.by_source.get(source).copied(),
        };
        let n = match found {
            Some(n) => n,
            None => {
                let joined = match decision.source {
                    Source::Tree(_) => met.iter().map(|t| t.0).find(|n| self.is_tree(*n)),
                    Source::Declared(_) | Source::Job(_) => None,
                };
                let n = joined.unwrap_or_else(|| self.open_for(&decision.source, now));
                self.by_source.insert(decision.source.clone(), n);
                n
            }
        };
        let tree = self.tree(n, decision.root, &met);
        self.pipes.attach(flow, (n, tree));
        let (n, tree) = self.merge_met(n, &met).map_or((n, tree), |into| {
            (
                into,
                self.runs
                    .get(&into)
                    .and_then(|r| r.trees.get(&decision.root).copied())
                    .unwrap_or(tree),
            )
        });
        self.follow_past(n, tree, &met);
        (n, tree)
    }

    /// `zcat data | train`: zcat was over long before the trainer wrote its first file. Its run has ended; what it used is used.
    fn follow_past(&mut self, n: u64, tree: u32, met: &BTreeSet<(u64, u32)>) {
        let past: BTreeSet<u64> = met
            .iter()
            .map(|t| t.0)
            .filter(|p| *p != n && self.is_past(*p))
            .filter(|p| !self.runs.get(&n).is_some_and(|r| r.after.contains_key(p)))
            .collect();
        if !self.is_tree(n) {
            return;
        }
        for p in past {
            self.copy(p, n, tree);
        }
    }

    /// What run `p` used, tree `tree` of run `n` has used; both stay what they are.
    fn copy(&mut self, p: u64, n: u64, tree: u32) {
        let (from_id, into_id) = (self.id(p), self.id(n));
        let Some(rows) = self.runs.get(&p).map(|r| r.processes.all().to_vec()) else {
            return;
        };
        let Some(run) = self.runs.get_mut(&n).filter(|_| p != n) else {
            return;
        };
        let (count, next) = (rows.len() as u32, run.processes.next());
        let processes = match run.after.insert(p, (count, next)) {
            // Nobody new has come to it: its processes have their numbers here already.
            Some((before, offset)) if before == count => {
                run.after.insert(p, (before, offset));
                offset
            }
            _ => {
                let renumber = |r: ProcessRow| ProcessRow {
                    number: r.number + next,
                    tree,
                    ..r
                };
                for row in rows.into_iter().map(renumber) {
                    run.processes.push(row);
                }
                next
            }
        };
        self.merges.push(Merge {
            absorbed: from_id,
            into: into_id,
            processes,
            copy: Some(tree),
        });
    }

    /// Two commands wrote one file, one after the other: what the first used is used by what it has become.
    pub(crate) fn write_on(&mut self, first: RunId, second: &Who) {
        if let (Some(p), Some(n)) = (self.number(first), self.number(second.run)) {
            self.copy(p, n, second.tree);
        }
    }

    fn is_past(&self, n: u64) -> bool {
        self.runs
            .get(&n)
            .is_some_and(|r| r.row.how == RunHow::Tree && r.row.ended.is_some())
    }

    fn open_for(&mut self, source: &Source, now: &str) -> u64 {
        match source {
            Source::Job(cgroup) => {
                let n = self.open(RunHow::Cgroup, now);
                if let Some(run) = self.runs.get_mut(&n) {
                    run.cgroup = Some(cgroup.clone());
                }
                n
            }
            // A declared run is opened by its declaration; one that was forgotten meanwhile is a tree.
            Source::Tree(_) | Source::Declared(_) => self.open(RunHow::Tree, now),
        }
    }

    fn is_tree(&self, n: u64) -> bool {
        self.runs.get(&n).is_some_and(|r| {
            r.row.how == RunHow::Tree && Some(n) != self.unknown && r.row.ended.is_none()
        })
    }

    /// The number of a tree. One that shares a pipe with a numbered tree of the run has that number.
    fn tree(&mut self, n: u64, root: ProcessKey, met: &BTreeSet<(u64, u32)>) -> u32 {
        let Some(run) = self.runs.get_mut(&n) else {
            return 0;
        };
        if let Some(tree) = run.trees.get(&root) {
            return *tree;
        }
        let shared = met.iter().find(|(r, _)| *r == n).map(|(_, t)| *t);
        let tree = shared.unwrap_or(run.next_tree);
        run.next_tree = run.next_tree.max(tree + 1);
        run.trees.insert(root, tree);
        tree
    }

    /// Pipes of a known process were looked at again: what they lead to becomes one run with its own.
    pub(crate) fn connect(&mut self, key: ProcessKey, flow: &Flow, standard: Vec<End>) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        process.standard = standard;
        // One more look is enough: a command substitution is read by a shell for good.
        process.unfinished = false;
        let who = process.who;
        let Some(n) = self.number(who.run) else {
            return;
        };
        let met = self.pipes.trees(flow);
        self.pipes.attach(flow, (n, who.tree));
        let n = self.merge_met(n, &met).unwrap_or(n);
        self.follow_past(n, who.tree, &met);
    }

    /// Makes one run of a tree run and all tree runs that it met: the oldest takes the others. `Some` when anything was merged.
    fn merge_met(&mut self, n: u64, met: &BTreeSet<(u64, u32)>) -> Option<u64> {
        if !self.is_tree(n) {
            return None;
        }
        let mut all: BTreeSet<u64> = met
            .iter()
            .map(|t| t.0)
            .filter(|r| self.is_tree(*r))
            .collect();
        all.insert(n);
        let into = all.pop_first()?;
        if all.is_empty() {
            return None;
        }
        for absorbed in all {
            self.merge(absorbed, into);
        }
        Some(into)
    }

    fn merge(&mut self, absorbed: u64, into: u64) {
        let (from_id, into_id) = (self.id(absorbed), self.id(into));
        let Some(old) = self.runs.remove(&absorbed) else {
            return;
        };
        let Some(run) = self.runs.get_mut(&into) else {
            return;
        };
        // Trees that share a pipe are graded as one tree: numbers stay, and tree 0 meets tree 0.
        let offset = run.processes.next();
        for p in old.processes.all() {
            run.processes.push(ProcessRow {
                number: p.number + offset,
                ..p.clone()
            });
        }
        run.row.confined = worse(run.row.confined, old.row.confined);
        run.row.uses += old.row.uses;
        run.next_tree = run.next_tree.max(old.next_tree);
        run.trees.extend(old.trees);
        run.watched.extend(old.watched);
        for p in self.processes.values_mut().filter(|p| p.who.run == from_id) {
            p.who.run = into_id;
            p.who.process += offset;
        }
        for n in self.by_source.values_mut().filter(|n| **n == absorbed) {
            *n = into;
        }
        run.after.extend(old.after);
        self.pipes.rename(absorbed, into);
        self.absorbed.insert(absorbed, into);
        self.merges.push(Merge {
            absorbed: from_id,
            into: into_id,
            processes: offset,
            copy: None,
        });
    }

    pub(crate) fn take_merges(&mut self) -> Vec<Merge> {
        std::mem::take(&mut self.merges)
    }
}
