//! From a thread id to its process, remembered. The hot path of every open.

use dashmap::DashMap;

use super::watch::Pidfd;
use super::{ProcessKey, Tid, proc};

/// So many threads are remembered; beyond that, those that are gone are dropped first, then all.
const MAX_THREADS: usize = 16 << 10;

#[derive(Debug)]
struct Known {
    process: ProcessKey,
    /// The thread's own start, for when there is no pidfd.
    start: u64,
    pidfd: Option<Pidfd>,
}

impl Known {
    /// Whether the id still means this thread: it lives, or has not been given to another.
    fn holds(&self, tid: Tid) -> bool {
        match &self.pidfd {
            Some(fd) => fd.alive(),
            None => proc::stat(tid.0).is_some_and(|s| s.start == self.start),
        }
    }
}

/// Threads seen before.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    known: DashMap<Tid, Known>,
}

impl Threads {
    /// The process of a thread; `None` when it is gone. A caller that waits for an answer lives, so its id cannot be reused meanwhile.
    pub(crate) fn process(&self, tid: Tid) -> Option<ProcessKey> {
        if let Some(known) = self.known.get(&tid)
            && known.holds(tid)
        {
            return Some(known.process);
        }
        let pidfd = Pidfd::thread(tid.0);
        let (process, start) = proc::process_of(tid)?;
        if self.known.len() >= MAX_THREADS {
            self.prune();
            if self.known.len() >= MAX_THREADS {
                self.known.clear();
            }
        }
        self.known.insert(
            tid,
            Known {
                process,
                start,
                pidfd,
            },
        );
        Some(process)
    }

    /// The process of a thread that was seen before, without asking /proc.
    pub(crate) fn remembered(&self, tid: Tid) -> Option<ProcessKey> {
        let known = self.known.get(&tid)?;
        let alive = known.pidfd.as_ref().is_some_and(Pidfd::alive);
        alive.then_some(known.process)
    }

    /// Drops threads that are gone, and their descriptors.
    pub(crate) fn prune(&self) {
        self.known.retain(|tid, known| known.holds(*tid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_belongs_to_its_process_and_is_forgotten_when_it_is_gone() {
        let threads = Threads::default();
        let (tell, told) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            wait.recv().ok();
        });
        let tid = Tid(told.recv().unwrap());
        let this = rustix::process::getpid().as_raw_nonzero().get();
        assert_ne!(tid.0, this);
        for _ in 0..2 {
            assert_eq!(threads.process(tid).unwrap().tgid.0, this);
        }
        go.send(()).unwrap();
        worker.join().unwrap();
        // The kernel may take a moment after join(2) to unhash the thread.
        while std::path::Path::new(&format!("/proc/self/task/{}", tid.0)).exists() {
            std::thread::yield_now();
        }
        assert!(threads.process(tid).is_none());
        threads.prune();
        assert!(threads.known.is_empty());
    }
}
