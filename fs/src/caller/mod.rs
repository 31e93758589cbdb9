//! Who makes a request: from FUSE's thread id to a process, its tree and its run. What a run means is decided in `ancestry`.

mod ancestry;
mod argv;
mod cgroup;
mod closing;
mod memory;
mod parse;
mod pipes;
mod proc;
mod registry;
mod rows;
mod seen;
mod sweep;
mod threads;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{InstanceId, RunId};
use atlas_manifests::vocabulary::Closed;

use crate::program::script;
use crate::vfs::observer::{Caller, Tgid, Tid};

pub use closing::Closing;
pub use seen::Seen;

pub(crate) use proc::{HOST, identity, key, replacing, root_of};

use parse::Memory;
use pipes::Flow;
use registry::Registry;
use threads::Threads;

/// `--runs`: how processes become runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunsMode {
    /// Declared runs, then cgroups made for one job, then process trees.
    #[default]
    Auto,
    /// Declared runs, then process trees.
    Tree,
}

/// A process for good: its id together with its start time in clock ticks since boot, which no later process shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id in the daemon's pid namespace.
    pub tgid: Tgid,
    /// Clock ticks since boot.
    pub start: u64,
}

/// A process' place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its run.
    pub run: RunId,
    /// Its number within the run.
    pub process: u32,
    /// The number of its tree within the run.
    pub tree: u32,
    /// Its process id; 0 for callers that have no name in the daemon's pid namespace, or were gone too soon.
    pub tgid: Tgid,
}

/// What one run used, another has used: data went from the one to the other through pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// Whose uses they were. This run is no more, unless they are copied.
    pub absorbed: RunId,
    /// Who has them now: an older run, which the other turned out to be, or one that goes on with what the other left.
    pub into: RunId,
    /// Process `n` of the absorbed run is process `n + processes` now.
    pub processes: u32,
    /// It stays what it was: its uses are copied, to this tree of the other. Else tree numbers stay as they are.
    pub copy: Option<u32>,
}

/// Everybody who makes requests. All methods may be called from any thread; none waits for anything but /proc.
#[derive(Debug)]
pub struct Callers {
    mode: RunsMode,
    /// Job cgroups that the daemon itself is in.
    own: Vec<String>,
    threads: Threads,
    registry: Mutex<Registry>,
    outside: AtomicU64,
    gone: AtomicU64,
}

impl Callers {
    /// Nobody yet.
    pub fn new(instance: InstanceId, mode: RunsMode) -> Self {
        let this = rustix::process::getpid().as_raw_nonzero().get();
        // A daemon started inside a batch job may well be that job's own; in a container or a unit it is what everything is in.
        let own = proc::cgroups(this)
            .iter()
            .filter_map(|c| cgroup::job(c))
            .filter(|c| !c.rsplit('/').next().is_some_and(|n| n.starts_with("job_")))
            .map(str::to_owned)
            .collect();
        Self {
            mode,
            own,
            threads: Threads::default(),
            registry: Mutex::new(Registry::new(instance)),
            outside: AtomicU64::new(0),
            gone: AtomicU64::new(0),
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change is complete before anything in it could panic, so a poisoned table is still a true one.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the caller belongs, while it waits for our answer. `writing`: it opens for writing, so its program and its pipes are looked at
    /// again, as they are when it may have become another program since.
    ///
    /// One place, but for callers outside the daemon's pid namespace: theirs first, then every open run, which are all credited.
    /// An open by a known process costs one poll(2) of its pidfd, or one small /proc read where there is none.
    pub fn resolve(&self, c: Caller, writing: bool) -> Vec<Who> {
        if c.tid.0 <= 0 {
            self.outside.fetch_add(1, Ordering::Relaxed);
            return self.registry().outside(&now());
        }
        let Some(key) = self.threads.process(c.tid) else {
            return vec![self.vanished()];
        };
        let known = self
            .registry()
            .processes
            .get(&key)
            .map(|p| (p.who, p.changing));
        match known {
            None => vec![self.admit(key, c)],
            Some((who, false)) if !writing => vec![who],
            Some((who, _)) => {
                self.look_again(key, c);
                vec![self.known(key).unwrap_or(who)]
            }
        }
    }

    /// The caller, who has been resolved, is about to become another program.
    pub fn executes(&self, c: Caller) {
        if let Some(key) = self.threads.process(c.tid)
            && let Some(p) = self.registry().processes.get_mut(&key)
        {
            p.changing = true;
        }
    }

    fn known(&self, key: ProcessKey) -> Option<Who> {
        self.registry().processes.get(&key).map(|p| p.who)
    }

    fn vanished(&self) -> Who {
        self.gone.fetch_add(1, Ordering::Relaxed);
        self.registry().gone(&now())
    }

    /// A process' first touch.
    fn admit(&self, key: ProcessKey, c: Caller) -> Who {
        let seen = Arc::new(proc::seen(key, c.uid, c.gid));
        let snapshot = proc::snapshot(key);
        let declared = self.registry().declarations();
        // The pid may have gone to somebody else while we looked: then the caller was killed, and what was read is not its.
        let same = snapshot.chain.first().is_some_and(|a| a.key == key);
        let Some(decision) =
            ancestry::decide(&snapshot, &declared, &self.own, self.mode).filter(|_| same)
        else {
            return self.vanished();
        };
        let standard = proc::standard_pipes(key.tgid);
        let flow = connected(key, decision.root, &decision.shells);
        // What a run is called is what was started, not the worker of it that came to the mount first.
        let origin = (decision.root != key && !self.registry().has(&decision.source))
            .then(|| proc::seen(decision.root, c.uid, c.gid))
            .filter(|s| proc::key(s.key.tgid.0) == Some(s.key) && s.exe.is_some());
        self.registry()
            .admit(seen, origin, &decision, &flow, standard, &now())
    }

    /// A known process opens for writing, or ends a version: it may have called execve(2), or got other pipes.
    fn look_again(&self, key: ProcessKey, c: Caller) {
        let (old, shells, root, standard, unfinished) = {
            let registry = self.registry();
            let Some(p) = registry.processes.get(&key) else {
                return;
            };
            (
                Arc::clone(&p.seen),
                p.shells.clone(),
                p.root,
                p.standard.clone(),
                p.unfinished,
            )
        };
        if let Some((exe, argv)) = proc::program(key.tgid)
            && (exe != old.exe || argv != old.argv)
        {
            let fresh = proc::seen(key, c.uid, c.gid);
            self.registry().update(Arc::new(fresh));
        }
        if !shells.is_empty() {
            let pipes_now = proc::standard_pipes(key.tgid);
            if unfinished || pipes_now != standard {
                let flow = connected(key, root, &shells);
                self.registry().connect(key, &flow, pipes_now);
            }
        }
        if let Some(p) = self.registry().processes.get_mut(&key) {
            p.changing = p.seen.is_shell();
        }
    }

    /// At FLUSH, before it is answered: whose it is, how the file is being closed, and the exit status or signal that goes with it.
    /// `None`: by the execve(2) of a process that was not seen before, which has written nothing.
    pub fn closing(&self, c: Caller) -> Option<Closing> {
        let memory = (c.tid.0 > 0).then(|| proc::memory_of(c.tid.0)).flatten();
        let executing = memory == Some(Memory::Replaced);
        let (who, closed, status) = if executing {
            (self.remembered(c.tid)?, Closed::Explicit, None)
        } else {
            self.closing_itself(c, memory)
        };
        Some(Closing {
            who,
            closed,
            status,
            executing,
        })
    }

    /// Where a process belongs that must not be looked at now. After execve(2) its only thread has the id of the process.
    fn remembered(&self, tid: Tid) -> Option<Who> {
        let registry = self.registry();
        if let Some(key) = self.threads.remembered(tid) {
            return registry.processes.get(&key).map(|p| p.who);
        }
        let same = registry.processes.iter().filter(|(k, _)| k.tgid.0 == tid.0);
        same.max_by_key(|(k, _)| k.start).map(|(_, p)| p.who)
    }

    fn closing_itself(&self, c: Caller, memory: Option<Memory>) -> (Who, Closed, Option<i32>) {
        let Some(key) = (c.tid.0 > 0).then(|| self.threads.process(c.tid)).flatten() else {
            let who = if c.tid.0 <= 0 {
                self.registry().outside(&now()).into_iter().next()
            } else {
                None
            };
            return (
                who.unwrap_or_else(|| self.vanished()),
                Closed::Explicit,
                None,
            );
        };
        let who = self.known(key).unwrap_or_else(|| self.admit(key, c));
        // Who has its memory still is not exiting.
        let thread = (memory != Some(Memory::Program))
            .then(|| proc::callers_stat(c.tid.0))
            .flatten();
        let exiting = thread.as_ref().is_some_and(|s| s.exiting);
        let code = if exiting && proc::may_see_exit_code() {
            proc::group_stat(key.tgid)
                .filter(|s| s.start == key.start)
                .map(|s| s.exit_code)
        } else {
            None
        };
        if exiting {
            // Executable and arguments are gone with its memory; its name is not.
            if let Some(name) = thread.filter(|_| c.tid.0 == key.tgid.0).map(|s| s.comm) {
                self.renamed_at_exit(key, &name);
            }
        } else {
            self.look_again(key, c);
        }
        let (closed, status) = closing::closed(exiting, code);
        (self.known(key).unwrap_or(who), closed, status)
    }

    /// A shell's child that opened a redirect, called execve(2), and never came back until its exit: its name tells that it did.
    fn renamed_at_exit(&self, key: ProcessKey, name: &[u8]) {
        let mut registry = self.registry();
        let Some(p) = registry.processes.get(&key) else {
            return;
        };
        let old = &p.seen;
        if old.comm == name || !old.is_shell() {
            return;
        }
        let fresh = Seen {
            comm: name.to_vec(),
            exe: None,
            exe_identity: None,
            argv: Vec::new(),
            ..Seen::clone(old)
        };
        registry.update(Arc::new(fresh));
    }

    /// Declares a run: the process that asks (named by SO_PEERCRED) and all its descendants from now on, and whoever is in `cgroup`.
    pub fn declare(
        &self,
        peer_pid: i32,
        name: Option<String>,
        meta: Vec<(String, String)>,
        argv: Vec<PathBytes>,
        cgroup: Option<String>,
    ) -> RunId {
        let by = key(peer_pid);
        let raw: Vec<Vec<u8>> = argv.into_iter().map(|a| a.0).collect();
        let cgroup = cgroup.filter(|g| g.starts_with('/') && g.len() > 1);
        let peer = by.map(|key| proc::seen(key, u32::MAX, u32::MAX));
        let mut registry = self.registry();
        let id = registry.declare(by, cgroup, &now());
        if let Some(run) = registry.run_mut(id) {
            run.row.name = name;
            run.row.meta = argv::redact_pairs(meta);
            run.row.argv = argv::redact(&raw);
            run.row.host = Some(HOST.clone());
            if let Some(peer) = peer {
                run.row.uid = peer.uid;
                run.row.cwd = peer.cwd;
            }
            if let Some(key) = by {
                run.watched.insert(key, watch::Watch::new(key));
            }
        }
        id
    }

    /// Ends a declared run with its exit status (128 + signal for a signal). Only the process that declared it may.
    pub fn finish(&self, run: RunId, peer_pid: i32, exit: i32) -> Result<(), String> {
        let peer = key(peer_pid);
        let by = match self.registry().run(run) {
            Some(found) => found.by,
            None => {
                return Err(format!(
                    "no open run {run}: it has ended, or another instance of the daemon began it"
                ));
            }
        };
        let Some(by) = by.filter(|by| Some(*by) == peer) else {
            return Err(format!(
                "run {run} was not declared by process {peer_pid}: only the process that declared a run may finish it"
            ));
        };
        // They are below their subreaper for as long as it waits for our answer.
        let left = proc::descendants(by.tgid);
        self.registry().finish(run, exit, left);
        Ok(())
    }

    /// What was last seen of a process that still lives, for `program::Programs::facts`.
    pub fn seen(&self, who: &Who) -> Option<Arc<Seen>> {
        let registry = self.registry();
        let n = registry.number(who.run)?;
        registry
            .processes
            .values()
            .find(|p| p.who.process == who.process && p.who.run.n == n)
            .map(|p| Arc::clone(&p.seen))
    }

    /// True when what was last seen of this process is a shell.
    pub fn is_shell(&self, who: &Who) -> bool {
        self.seen(who).is_some_and(|s| s.is_shell())
    }

    /// True when what was last seen of this process is a Python: what others do with its modules is to read them.
    pub fn is_python(&self, who: &Who) -> bool {
        self.seen(who).is_some_and(|s| {
            let exe = s.exe.as_ref().map(PathBytes::base_name);
            [exe, Some(&s.comm[..])]
                .into_iter()
                .flatten()
                .any(|name| name.starts_with(b"python") || name.starts_with(b"pypy"))
        })
    }

    /// True when this process, as last seen, interprets the script of this path below SOURCE.
    pub fn is_its_script(&self, who: &Who, path: &Path) -> bool {
        let Some(seen) = self.seen(who) else {
            return false;
        };
        // Who sees other files than we do may have what is deep below SOURCE at its root.
        let in_its_view = |script: &Path| {
            let below = script.strip_prefix("/").unwrap_or(script);
            !seen.same_files && below.file_name().is_some() && path.ends_with(below)
        };
        let scripts = script::path(&seen).unwrap_or_default();
        scripts.iter().any(|s| s.ends_with(path) || in_its_view(s))
    }

    /// A command goes on with the file that another had written to, because a shell gave it the same descriptor.
    pub fn write_on(&self, first: RunId, second: &Who) {
        self.registry().write_on(first, second);
    }

    /// Runs between which data was found to go since the last call. What is recorded of the absorbed one belongs to the other.
    pub fn take_merges(&self) -> Vec<Merge> {
        self.registry().take_merges()
    }

    /// Forgets an ended run's row, once it is safely kept elsewhere.
    pub fn forget(&self, run: RunId) {
        self.registry().forget(run);
    }

    /// True when thread `a` belongs to the process `opener`.
    pub fn same_process(&self, a: Tid, opener: Tgid) -> bool {
        a.0 == opener.0 && a.0 > 0 || self.threads.process(a).is_some_and(|k| k.tgid == opener)
    }

    /// Requests so far from outside the daemon's pid namespace, and from callers that were gone before they could be looked at.
    pub fn unnamed(&self) -> (u64, u64) {
        (
            self.outside.load(Ordering::Relaxed),
            self.gone.load(Ordering::Relaxed),
        )
    }
}

/// All pipes that lead to or from a process through its tree's root, the shells above it and their other children.
fn connected(key: ProcessKey, root: ProcessKey, shells: &[ProcessKey]) -> Flow {
    let Some(topmost) = shells.last() else {
        // Whoever started it is gone, or is no shell; what it reads still came from somewhere.
        let own: Vec<_> = proc::standard_pipes(key.tgid)
            .into_iter()
            .filter(|e| !e.writes)
            .collect();
        return pipes::flow(&own, &[], &[], &[]);
    };
    let mut own = proc::pipes(key.tgid);
    if root != key {
        own.extend(proc::pipes(root.tgid));
    }
    // What the topmost shell was started with leads to its starter (an ssh server, a jobserver), and everything below it has
    // inherited that. Its other descriptors are the pipelines that it is setting up.
    let mut outside = proc::standard_pipes(topmost.tgid);
    if let Some(starter) = proc::stat(topmost.tgid.0) {
        outside.extend(proc::pipes(Tgid(starter.ppid)));
    }
    let outside: Vec<u64> = outside.into_iter().map(|e| e.pipe).collect();
    if own.iter().all(|e| outside.contains(&e.pipe)) {
        return pipes::flow(&own, &[], &[], &outside);
    }
    let above: Vec<_> = shells.iter().map(|s| proc::pipes(s.tgid)).collect();
    let beside: Vec<_> = proc::children(shells, root.tgid)
        .into_iter()
        .map(proc::pipes)
        .collect();
    pipes::flow(&own, &above, &beside, &outside)
}

/// RFC 3339, UTC, to the millisecond.
fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond)
        .unwrap_or(now)
        .to_string()
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
