//! Finding runs that are over: when no process of theirs is left. Looks at pidfds and cgroups, and decides nothing else.

use std::collections::HashSet;

use atlas_manifests::id::RunId;
use atlas_manifests::vocabulary::RunHow;

use super::{Callers, ProcessKey, ancestry, cgroup, now, proc};

impl Callers {
    /// Runs whose last process is gone since the last call; their rows have `ended`, and `exit` when it could be told.
    ///
    /// Also drops what is remembered of processes that are gone, and looks again at shells that may have become something else.
    /// Meant to be called about once a second, off the FUSE threads.
    pub fn sweep(&self) -> Vec<RunId> {
        self.threads.prune();
        self.look_at_shells();
        let mut ended = Vec::new();
        let mut registry = self.registry();
        let mut gone: HashSet<ProcessKey> = HashSet::new();
        let numbers: Vec<u64> = registry.runs.keys().copied().collect();
        for n in numbers {
            let unknown = registry.is_unknown(n);
            let Some(run) = registry.runs.get_mut(&n) else {
                continue;
            };
            if run.row.ended.is_some() || unknown {
                continue;
            }
            let first = run.first;
            let mut exit = None;
            run.watched.retain(|key, watch| {
                let alive = watch.alive();
                if !alive {
                    gone.insert(*key);
                    if Some(*key) == first && run.row.how != RunHow::Declared {
                        exit = watch.exit_code();
                    }
                }
                alive
            });
            // A run outlives its root: what the root left behind is told as soon as it is gone.
            run.row.exit = run.row.exit.or(exit.map(shell_status));
            // The process that declared a run waits for it: alive and not finished is not over, whoever else is gone.
            let deserted = run.watched.is_empty()
                || run.finished && run.watched.keys().all(|k| Some(*k) == run.by);
            let elsewhere = || {
                run.cgroup
                    .as_deref()
                    .is_some_and(|c| cgroup::populated(proc::cgroup_root(), c) == Some(true))
            };
            if deserted && !elsewhere() {
                ended.push(n);
            }
        }
        registry.drop_processes(&gone);
        let now = now();
        ended
            .into_iter()
            .filter_map(|n| {
                registry.end(n, None, &now);
                registry.runs.get(&n).map(|r| r.row.id)
            })
            .collect()
    }

    /// A shell's child opens the redirect before execve(2): what it became is not told by any later request until it closes.
    fn look_at_shells(&self) {
        let shells: Vec<_> = self
            .registry()
            .processes
            .iter()
            .filter(|(key, p)| {
                let exe = p.seen.exe.as_ref().map(|e| e.0.as_slice());
                ancestry::is_shell(**key, &p.seen.comm, exe)
            })
            .map(|(key, p)| (*key, p.seen.clone()))
            .collect();
        for (key, old) in shells {
            let Some((exe, argv)) = proc::program(key.tgid) else {
                continue;
            };
            if exe == old.exe && argv == old.argv {
                continue;
            }
            let fresh = proc::seen(key, old.uid, old.gid);
            // Read before the start time is compared: what was read is then the process' own.
            if proc::key(key.tgid.0) == Some(key) {
                self.registry().update(std::sync::Arc::new(fresh));
            }
        }
    }
}

/// A status of wait(2) as shells say it: 0 to 255, or 128 + signal.
fn shell_status(code: i32) -> i32 {
    match code & 0x7f {
        0 => code >> 8 & 0xff,
        signal => 128 + signal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_reads_as_a_shell_says_it() {
        assert_eq!(shell_status(0), 0);
        assert_eq!(shell_status(768), 3);
        assert_eq!(shell_status(9), 137);
        assert_eq!(shell_status(6 | 0x80), 134);
    }
}
