//! The digest workers: who is at what, and how to stop it. Not the order (`queue`), not the protocol (`work`), not the waiting (`keeper`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::keeper::{Keeper, Parked};
use super::pass::Pass;
use super::queue::Queue;
use super::running::Running;
use super::watch::Watch;
use super::work::{After, Task, Worker};
use super::{Job, Outcome};
use crate::background;
use crate::vfs::observer::{Backing, FileKey};

/// The workers and what they know of. Stops when dropped.
pub struct DigestPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The pool's times.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How long an ended version waits for quiet before it is digested as `Quiet::Held`.
    pub patience: Duration,
    /// The longest pause between two tries to prove quiet. The first are shorter, and a close that fanotify tells of needs none.
    pub retry: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            retry: Duration::from_secs(2),
        }
    }
}

/// What workers and keeper share.
pub(super) struct Shared {
    pub(super) backing: Arc<dyn Backing>,
    tell: Box<dyn Fn(Outcome) + Send + Sync>,
    pub(super) tuning: Tuning,
    pub(super) watch: Option<Watch>,
    pub(super) keeper: Keeper,
    state: Mutex<State>,
    /// Signalled when there is work, or when the pool stops.
    work: Condvar,
    /// Signalled when a worker has let go of a file.
    left: Condvar,
    /// Mirrors `State`: tasks wait, or the pool stops. Tells a helper to leave without taking the lock.
    urgent: AtomicBool,
}

/// Guarded by `Shared::state`; never held over a read or an outcome. The locks of a pass, of the watch and of a lease are taken inside it, never around it.
#[derive(Default)]
pub(super) struct State {
    pub(super) queue: Queue,
    active: Vec<Active>,
    pub(super) parked: Vec<Parked>,
    /// Taken from the queue or from the parked by `cancel`; the keeper tells.
    pub(super) cancelled: Vec<Task>,
    pub(super) stopping: bool,
}

/// A task in a worker's hands.
struct Active {
    ticket: u64,
    /// What it reads, when that is the file itself and not a copy.
    file: Option<FileKey>,
    running: Arc<Running>,
    /// A large pass that idle workers may assist.
    pass: Option<Arc<Pass>>,
    /// The worker has let go of the file: what is left is to tell.
    left: bool,
}

impl DigestPool {
    /// Starts `threads` workers (at least one). `tell` is called on the pool's threads; while it does not return, that worker does nothing else.
    pub fn start(
        threads: usize,
        backing: Arc<dyn Backing>,
        tell: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> Arc<Self> {
        Self::start_with(threads, backing, tell, Tuning::default())
    }

    /// `start` with other times.
    pub fn start_with(
        threads: usize,
        backing: Arc<dyn Backing>,
        tell: Box<dyn Fn(Outcome) + Send + Sync>,
        tuning: Tuning,
    ) -> Arc<Self> {
        let watch = Watch::new()
            .inspect_err(|e| {
                tracing::info!(
                    "held files are looked at every {:?}, not watched: fanotify: {e}",
                    tuning.retry
                );
            })
            .ok();
        let shared = Arc::new(Shared {
            backing,
            tell,
            tuning,
            watch,
            keeper: Keeper::new(),
            state: Mutex::default(),
            work: Condvar::new(),
            left: Condvar::new(),
            urgent: AtomicBool::new(false),
        });
        let mut handles = Vec::new();
        let mut spawn = |name: String, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let spawned = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || run(&shared));
            match spawned {
                Ok(handle) => handles.push(handle),
                Err(e) => tracing::error!("{name} did not start: {e}; raise the limit on threads"),
            }
        };
        spawn("digest-keeper".to_owned(), Shared::keep);
        for n in 0..threads.max(1) {
            spawn(format!("digest-{n}"), Shared::serve);
        }
        Arc::new(Self {
            shared,
            threads: Mutex::new(handles),
        })
    }

    /// Queues a job. Never waits for I/O. After `stop` it does nothing.
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        if !state.stopping {
            self.shared.enqueue(&mut state, Task::new(job));
        }
    }

    /// Ends every job on a file, and every lease on it at once: a writer is about to open, truncate or allocate. Each of them is told as `Changed` (or
    /// `Gone`), later and on a thread of the pool; the file's identity in there says whether anything did change. True when no descriptor of ours
    /// is open on the file any more; false when a read took longer than `wait`: its worker lets go as soon as it returns, and holds up nobody, since it
    /// has no lease.
    pub fn cancel(&self, file: FileKey, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.lock();
        let state_now = &mut *state;
        let mut doomed = state_now.queue.remove(file);
        doomed.extend(
            state_now
                .parked
                .extract_if(.., |parked| parked.task.file == file)
                .map(|parked| parked.task),
        );
        if !doomed.is_empty() {
            state_now.cancelled.append(&mut doomed);
            self.shared.keeper.wake();
        }
        for active in state.active.iter().filter(|a| a.file == Some(file)) {
            active.running.cancel();
        }
        while state.active.iter().any(|a| a.file == Some(file) && !a.left) {
            let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .shared
                .left
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// The part of a job's bytes that is digested, 0 to 1. `None` for a job that the pool does not know, or not any more.
    pub fn progress(&self, ticket: u64) -> Option<f32> {
        let state = self.shared.lock();
        if let Some(active) = state.active.iter().find(|a| a.ticket == ticket) {
            return Some(active.running.progress());
        }
        let waits = state.parked.iter().any(|p| p.task.ticket == ticket);
        (waits || state.queue.contains(ticket)).then_some(0.0)
    }

    /// Jobs that wait for a worker. Held ones, which wait for a writer, are not among them.
    pub fn queued(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Abandons every job, telling nobody, and waits for the threads. Called on one of them (from `tell`), it does not wait for that one.
    pub fn stop(&self) {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            state.queue.clear();
            state.parked.clear();
            state.cancelled.clear();
            for active in &state.active {
                active.running.cancel();
            }
            self.shared.urgent.store(true, Ordering::Relaxed);
        }
        self.shared.work.notify_all();
        self.shared.keeper.wake();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for DigestPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enqueue(&self, state: &mut State, task: Task) {
        state.queue.push(task);
        self.urgent.store(true, Ordering::Relaxed);
        self.work.notify_one();
    }

    /// Tells an outcome, unless the pool is being stopped: then nobody listens any more.
    pub(super) fn tell(&self, outcome: Outcome) {
        if !self.lock().stopping {
            (self.tell)(outcome);
        }
    }

    /// A worker's life.
    fn serve(&self) {
        background::give_way();
        let mut state = self.lock();
        while !state.stopping {
            if let Some(task) = state.queue.pop() {
                let running = Arc::new(Running::default());
                state.active.push(Active {
                    ticket: task.ticket,
                    file: task.snapshot.is_none().then_some(task.file),
                    running: Arc::clone(&running),
                    pass: None,
                    left: false,
                });
                drop(state);
                self.handle(task, &running);
                state = self.lock();
                continue;
            }
            // `cancel` may have emptied the queue.
            self.urgent.store(false, Ordering::Relaxed);
            let pass = state
                .active
                .iter()
                .filter_map(|a| a.pass.as_ref())
                .find(|pass| pass.wants_help())
                .cloned();
            if let Some(pass) = pass {
                drop(state);
                pass.assist(|| self.urgent.load(Ordering::Relaxed));
                state = self.lock();
            } else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn handle(&self, mut task: Task, running: &Arc<Running>) {
        let mine = |a: &Active| Arc::ptr_eq(&a.running, running);
        let offer = |pass: &Arc<Pass>| {
            let mut state = self.lock();
            if let Some(active) = state.active.iter_mut().find(|a| mine(a)) {
                active.pass = Some(Arc::clone(pass));
            }
            self.work.notify_one();
        };
        let worker = Worker {
            backing: &*self.backing,
            watch: self.watch.as_ref(),
            patience: self.tuning.patience,
            offer: &offer,
        };
        let after = worker.work(&mut task, running);
        {
            let mut state = self.lock();
            if matches!(after, After::Over(_)) {
                state.active.retain(|a| !mine(a));
            } else if let Some(active) = state.active.iter_mut().find(|a| mine(a)) {
                active.pass = None;
                active.left = true;
            }
        }
        self.left.notify_all();
        // Told before the task can be taken up again, so that a task's outcomes come in order.
        let next = match after {
            After::Over(outcome) => return self.tell(outcome),
            After::Again => Instant::now(),
            After::Park(outcome) => {
                if let Some(outcome) = outcome {
                    self.tell(outcome);
                }
                let delay = task.delay;
                task.delay = (delay * 2).min(self.tuning.retry);
                Instant::now() + delay
            }
        };
        let mut state = self.lock();
        state.active.retain(|a| !mine(a));
        if !state.stopping {
            // `cancel` did not find it among the parked.
            if running.is_cancelled() {
                state.cancelled.push(task);
            } else {
                state.parked.push(Parked { task, next });
            }
            self.keeper.wake();
        }
    }
}
