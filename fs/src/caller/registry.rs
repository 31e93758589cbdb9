//! Runs and their processes, by number. Pure bookkeeping: whoever calls has looked at /proc before, and says what time it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{InstanceId, RunId};
use atlas_manifests::rows::{ProcessRow, RunRow};
use atlas_manifests::vocabulary::{Confined, RunHow};

use super::ancestry::{Decision, Declaration, Source};
use super::pipes::{End, Flow, Pipes};
use super::seen::Seen;
use super::watch::Watch;
use super::{Merge, ProcessKey, Tgid, Who};

mod joining;
mod processes;

use processes::Processes;

/// A process of a run.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it belongs.
    pub(crate) who: Who,
    /// What was seen of it last.
    pub(crate) seen: Arc<Seen>,
    /// Shells above its tree's root: empty when no pipe needs to be looked for.
    pub(crate) shells: Vec<ProcessKey>,
    /// Root of its tree.
    pub(crate) root: ProcessKey,
    /// Its standard pipes when they were last looked at.
    pub(crate) standard: Vec<End>,
    /// Its pipeline was still being set up then.
    pub(crate) unfinished: bool,
    /// It may be another program the next time: it executes one, or is a shell, whose children have not become what they are for.
    pub(crate) changing: bool,
}

/// A run that has not been forgotten.
#[derive(Debug)]
pub(crate) struct Run {
    /// What is told of it, but for its processes.
    pub(crate) row: RunRow,
    /// Those that touched the mount.
    pub(crate) processes: Processes,
    /// The cgroup it lives in, when it is one made for it.
    pub(crate) cgroup: Option<String>,
    /// The process that declared it.
    pub(crate) by: Option<ProcessKey>,
    /// What its command left behind when it was finished: orphans, once the declaring process is gone.
    left: Vec<ProcessKey>,
    /// A declared run that was finished.
    pub(crate) finished: bool,
    /// Processes and tree roots that are waited for.
    pub(crate) watched: HashMap<ProcessKey, Watch>,
    /// Roots of its trees and their numbers.
    trees: HashMap<ProcessKey, u32>,
    next_tree: u32,
    /// Whose exit is the run's.
    pub(crate) first: Option<ProcessKey>,
    /// Whose executable and arguments are the run's.
    subject: Option<ProcessKey>,
    /// Runs whose uses it has, with how many processes they had, and where those stand among its own.
    after: BTreeMap<u64, (u32, u32)>,
    /// Nobody asks for it any more; it stays for what it wrote into pipes.
    forgotten: bool,
    /// The number of what cannot be named in it: callers of another pid namespace.
    outside: Option<Who>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Registry {
    instance: InstanceId,
    next: u64,
    pub(crate) runs: BTreeMap<u64, Run>,
    by_source: HashMap<Source, u64>,
    pub(crate) processes: HashMap<ProcessKey, Process>,
    pipes: Pipes,
    absorbed: HashMap<u64, u64>,
    merges: Vec<Merge>,
    unknown: Option<u64>,
}

impl Registry {
    pub(crate) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            next: 1,
            runs: BTreeMap::new(),
            by_source: HashMap::new(),
            processes: HashMap::new(),
            pipes: Pipes::default(),
            absorbed: HashMap::new(),
            merges: Vec::new(),
            unknown: None,
        }
    }

    fn id(&self, n: u64) -> RunId {
        RunId {
            instance: self.instance,
            n,
        }
    }

    /// The number of a run of this instance, or of the run that absorbed it.
    pub(crate) fn number(&self, run: RunId) -> Option<u64> {
        if run.instance != self.instance {
            return None;
        }
        let mut n = run.n;
        // A run is absorbed by an older one only, so this ends.
        while let Some(into) = self.absorbed.get(&n) {
            n = *into;
        }
        self.runs.contains_key(&n).then_some(n)
    }

    pub(crate) fn run(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&self.number(run)?)
    }

    pub(crate) fn run_mut(&mut self, run: RunId) -> Option<&mut Run> {
        let n = self.number(run)?;
        self.runs.get_mut(&n)
    }

    /// Declarations that processes may belong to.
    pub(crate) fn declarations(&self) -> Vec<Declaration> {
        self.runs
            .values()
            .filter(|r| r.row.ended.is_none())
            .flat_map(|r| {
                r.by.iter().chain(&r.left).map(|by| Declaration {
                    run: r.row.id,
                    by: *by,
                    cgroup: r.cgroup.clone(),
                })
            })
            .collect()
    }

    /// Opens a run.
    pub(crate) fn open(&mut self, how: RunHow, now: &str) -> u64 {
        let n = self.next;
        self.next += 1;
        let row = RunRow {
            id: self.id(n),
            name: None,
            meta: Vec::new(),
            how,
            uid: 0,
            host: None,
            cwd: None,
            exe: None,
            argv: Vec::new(),
            script: None,
            git: None,
            python: None,
            confined: Confined::Confined,
            started: now.to_owned(),
            ended: None,
            exit: None,
            uses: 0,
            processes: Vec::new(),
        };
        self.runs.insert(
            n,
            Run {
                row,
                processes: Processes::default(),
                cgroup: None,
                by: None,
                left: Vec::new(),
                finished: false,
                watched: HashMap::new(),
                trees: HashMap::new(),
                next_tree: 0,
                first: None,
                subject: None,
                after: BTreeMap::new(),
                forgotten: false,
                outside: None,
            },
        );
        n
    }

    /// Opens a declared run.
    pub(crate) fn declare(
        &mut self,
        by: Option<ProcessKey>,
        cgroup: Option<String>,
        now: &str,
    ) -> RunId {
        let n = self.open(RunHow::Declared, now);
        let id = self.id(n);
        self.by_source.insert(Source::Declared(id), n);
        if let Some(run) = self.runs.get_mut(&n) {
            run.by = by;
            run.cgroup = cgroup;
            run.first = by;
        }
        id
    }

    /// Whether a run has begun here.
    pub(crate) fn has(&self, source: &Source) -> bool {
        self.by_source.contains_key(source)
    }

    /// A declared run's command has ended, and left these processes.
    pub(crate) fn finish(&mut self, run: RunId, exit: i32, left: Vec<ProcessKey>) {
        if let Some(run) = self.run_mut(run) {
            run.finished = true;
            run.row.exit = Some(exit);
            for key in &left {
                run.watched.entry(*key).or_insert_with(|| Watch::new(*key));
            }
            run.left = left;
        }
    }

    /// Gives a process its place: its run by `decision`, or the run that its pipes lead to. A process that has one keeps it.
    /// `origin` is the root of its tree, when that is another process and the run is new.
    pub(crate) fn admit(
        &mut self,
        seen: Arc<Seen>,
        origin: Option<Seen>,
        decision: &Decision,
        flow: &Flow,
        standard: Vec<End>,
        now: &str,
    ) -> Who {
        if let Some(known) = self.processes.get(&seen.key) {
            return known.who;
        }
        let (n, tree) = self.place(decision, flow, now);
        let key = seen.key;
        let id = self.id(n);
        let host = super::proc::HOST.clone();
        let Some(run) = self.runs.get_mut(&n) else {
            // `place` returns numbers of runs that it found or opened in this same call.
            return Who {
                run: id,
                process: 0,
                tree,
                tgid: key.tgid,
            };
        };
        let process = run.processes.next();
        run.processes.push(row(process, tree, &seen));
        if run.subject.is_none() {
            let subject = origin.as_ref().unwrap_or(&seen);
            run.subject = Some(subject.key);
            run.row.uid = subject.uid;
            run.row.host = Some(host);
            run.row.cwd.clone_from(&subject.cwd);
            if run.row.argv.is_empty() {
                run.row.argv.clone_from(&subject.argv);
            }
            run.row.exe.clone_from(&subject.exe);
            run.row.confined = seen.confined();
        } else {
            run.row.confined = worse(run.row.confined, seen.confined());
        }
        run.first.get_or_insert(decision.root);
        run.watched.entry(key).or_insert_with(|| Watch::new(key));
        run.watched
            .entry(decision.root)
            .or_insert_with(|| Watch::new(decision.root));
        let who = Who {
            run: id,
            process,
            tree,
            tgid: key.tgid,
        };
        let changing = seen.is_shell();
        self.processes.insert(
            key,
            Process {
                who,
                seen,
                shells: decision.shells.clone(),
                root: decision.root,
                standard,
                unfinished: flow.unfinished,
                changing,
            },
        );
        who
    }

    /// A process runs another program now.
    pub(crate) fn update(&mut self, seen: Arc<Seen>) {
        let Some(process) = self.processes.get_mut(&seen.key) else {
            return;
        };
        process.seen = Arc::clone(&seen);
        let who = process.who;
        let Some(run) = self.run_mut(who.run) else {
            return;
        };
        run.row.confined = worse(run.row.confined, seen.confined());
        run.processes
            .becomes(who.process, seen.exe.as_ref(), &seen.argv);
        if run.subject == Some(seen.key) {
            run.row.exe.clone_from(&seen.exe);
            // What was declared stays: `atlasctl run` knows best what it was asked to run.
            if run.row.how != RunHow::Declared {
                run.row.argv.clone_from(&seen.argv);
            }
        }
    }

    /// Callers without a name here: in the run of their own first, then in every run that is open.
    pub(crate) fn outside(&mut self, now: &str) -> Vec<Who> {
        let own = self.unknown_run(now);
        let others: Vec<u64> = self
            .runs
            .iter()
            .filter(|(n, r)| **n != own && r.row.ended.is_none())
            .map(|(n, _)| *n)
            .collect();
        std::iter::once(own)
            .chain(others)
            .filter_map(|n| self.outsider(n))
            .collect()
    }

    /// A caller that was gone before it could be looked at.
    pub(crate) fn gone(&mut self, now: &str) -> Who {
        let n = self.unknown_run(now);
        let id = self.id(n);
        self.outsider(n).unwrap_or(Who {
            run: id,
            process: 0,
            tree: 0,
            tgid: Tgid(0),
        })
    }

    fn unknown_run(&mut self, now: &str) -> u64 {
        match self.unknown {
            Some(n) if self.runs.contains_key(&n) => n,
            _ => {
                let n = self.open(RunHow::Tree, now);
                if let Some(run) = self.runs.get_mut(&n) {
                    // Nothing is known of who these are, so nothing is claimed of what they could not do.
                    run.row.confined = Confined::Open;
                }
                self.unknown = Some(n);
                n
            }
        }
    }

    /// The one process of a run that stands for all callers that have no name here: in a tree of its own.
    fn outsider(&mut self, n: u64) -> Option<Who> {
        let id = self.id(n);
        let run = self.runs.get_mut(&n)?;
        if let Some(who) = run.outside {
            return Some(who);
        }
        let process = run.processes.next();
        let tree = run.next_tree;
        run.next_tree += 1;
        run.processes.push(ProcessRow {
            number: process,
            tree,
            pid: 0,
            exe: None,
            argv: Vec::new(),
        });
        let who = Who {
            run: id,
            process,
            tree,
            tgid: Tgid(0),
        };
        run.outside = Some(who);
        Some(who)
    }

    /// True for the run of callers that cannot be named: it ends with the daemon.
    pub(crate) fn is_unknown(&self, n: u64) -> bool {
        self.unknown == Some(n)
    }

    /// Ends a run: nothing joins it any more. Its row stays until it is forgotten.
    pub(crate) fn end(&mut self, n: u64, exit: Option<i32>, now: &str) {
        let id = self.id(n);
        if let Some(run) = self.runs.get_mut(&n) {
            run.row.ended = Some(now.to_owned());
            run.row.exit = run.row.exit.or(exit);
            run.watched.clear();
        }
        self.by_source.retain(|_, r| *r != n);
        self.processes.retain(|_, p| p.who.run != id);
        if let Some(oldest) = self.pipes.ended(n)
            && self.runs.get(&oldest).is_some_and(|r| r.forgotten)
        {
            self.remove(oldest);
        }
    }

    /// Drops processes that are gone; their rows stay.
    pub(crate) fn drop_processes(&mut self, gone: &HashSet<ProcessKey>) {
        self.processes.retain(|k, _| !gone.contains(k));
    }

    /// Drops an ended run's row, as soon as nobody can read any more what it wrote into pipes.
    pub(crate) fn forget(&mut self, run: RunId) {
        if let Some(n) = self.number(run)
            && let Some(found) = self.runs.get_mut(&n)
            && found.row.ended.is_some()
        {
            found.forgotten = true;
            if !self.pipes.leads_on(n) {
                self.remove(n);
            }
        }
    }

    fn remove(&mut self, n: u64) {
        self.runs.remove(&n);
        self.absorbed.retain(|_, into| *into != n);
    }
}

fn row(number: u32, tree: u32, seen: &Seen) -> ProcessRow {
    ProcessRow {
        number,
        tree,
        pid: seen.key.tgid.0,
        exe: seen.exe.clone(),
        argv: seen.argv.iter().map(|a| PathBytes(a.0.clone())).collect(),
    }
}

/// Root is worse than what could not be told, and that is worse than confined.
fn worse(a: Confined, b: Confined) -> Confined {
    let rank = |c| match c {
        Confined::Confined => 0,
        Confined::Open => 1,
        Confined::Root => 2,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
