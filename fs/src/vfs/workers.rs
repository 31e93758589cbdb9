//! Threads for what may take long, so that no FUSE thread waits for it. A reply is parked here and answered once: by the work or by its deadline.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::inode::lock;

/// The longest a parked reply with a bound waits.
pub(crate) const BOUND: Duration = Duration::from_secs(5);

/// Threads at most. They are started when needed and end when idle.
const THREADS: usize = 32;

/// Work waiting at most; more is refused.
const QUEUE: usize = 4096;

const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Something that can be taken once, by whoever comes first.
#[derive(Debug)]
pub(crate) struct Parked<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Parked<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Parked<T> {
    pub(crate) fn new(reply: T) -> Self {
        Self(Arc::new(Mutex::new(Some(reply))))
    }

    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.0).take()
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// All with the same bound, so in order.
    deadlines: VecDeque<(Instant, Job)>,
    timer: bool,
}

/// The pool.
#[derive(Clone)]
pub(crate) struct Workers {
    shared: Arc<(Mutex<State>, Condvar, Condvar)>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::default(),
        }
    }

    /// Runs `job` on some thread. Gives it back when too much is waiting or no thread can be had.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = lock(&self.shared.0);
        if state.jobs.len() >= QUEUE {
            return false;
        }
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= THREADS {
            self.shared.1.notify_one();
            return true;
        }
        state.threads += 1;
        drop(state);
        let pool = self.clone();
        let started = thread::Builder::new()
            .name("vfs-worker".into())
            .spawn(move || pool.work());
        if started.is_err() {
            let mut state = lock(&self.shared.0);
            state.threads -= 1;
            if state.threads == 0 {
                state.jobs.pop_back();
                return false;
            }
        }
        true
    }

    /// Calls `late` after `BOUND`. It is for the caller to make that harmless when the work was done in time.
    pub(crate) fn deadline(&self, late: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.shared.0);
        state
            .deadlines
            .push_back((Instant::now() + BOUND, Box::new(late)));
        if state.timer {
            return;
        }
        state.timer = true;
        drop(state);
        let pool = self.clone();
        let started = thread::Builder::new()
            .name("vfs-deadline".into())
            .spawn(move || pool.time());
        if started.is_err() {
            lock(&self.shared.0).timer = false;
        }
    }

    fn work(&self) {
        let (state, ready, _) = &*self.shared;
        let mut guard = lock(state);
        loop {
            if let Some(job) = guard.jobs.pop_front() {
                drop(guard);
                job();
                guard = lock(state);
                continue;
            }
            guard.idle += 1;
            let (back, waited) = match ready.wait_timeout(guard, IDLE) {
                Ok(woken) => woken,
                Err(poisoned) => poisoned.into_inner(),
            };
            guard = back;
            guard.idle -= 1;
            if waited.timed_out() && guard.jobs.is_empty() {
                guard.threads -= 1;
                return;
            }
        }
    }

    /// Runs until nothing has a deadline.
    fn time(&self) {
        let (state, _, tick) = &*self.shared;
        let mut guard = lock(state);
        loop {
            let now = Instant::now();
            match guard.deadlines.front() {
                None => {
                    guard.timer = false;
                    return;
                }
                Some((at, _)) if *at <= now => {
                    if let Some((_, late)) = guard.deadlines.pop_front() {
                        drop(guard);
                        late();
                        guard = lock(state);
                    }
                }
                Some((at, _)) => {
                    let wait = *at - now;
                    guard = match tick.wait_timeout(guard, wait) {
                        Ok((back, _)) => back,
                        Err(poisoned) => poisoned.into_inner().0,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn blocked_work_does_not_keep_other_work_waiting() {
        let pool = Workers::new();
        let (release, blocked) = mpsc::channel::<()>();
        assert!(pool.run(move || {
            let _ = blocked.recv();
        }));
        let (done, seen) = mpsc::channel();
        for n in 0..20 {
            let done = done.clone();
            assert!(pool.run(move || {
                let _ = done.send(n);
            }));
        }
        let mut all: Vec<i32> = (0..20).map(|_| seen.recv().expect("it ran")).collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        drop(release);
    }

    #[test]
    fn a_parked_reply_is_answered_once() {
        let parked = Parked::new(7);
        let other = parked.clone();
        assert_eq!(parked.take(), Some(7));
        assert_eq!(other.take(), None);
    }
}
