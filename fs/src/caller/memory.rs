//! What /proc shows only under a lock of the process, never waited for without a bound. Nothing is decided here.
//!
//! Arguments and environment are read under the lock of its memory; `stat` and all links (exe, cwd, fd) under the one that execve(2) takes.
//! A thread of the job may hold either while it waits for this daemon (a page of a mapped file is on its way; execve closes a file), or for
//! ever, if it wants to: whoever reads it to answer a request then answers nobody any more. So threads kept for this read it, and who does
//! not get it in time goes on without.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A process that nobody holds up is read in microseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// For so long a process that did not let itself be read is not asked again.
const SULK: Duration = Duration::from_secs(1);
/// So many readers at most; those that are held up count.
const READERS: usize = 32;

type Job = Box<dyn FnOnce() -> Told + Send>;
/// Hands the answer over, once the reader is free again.
type Told = Box<dyn FnOnce()>;

struct Readers {
    idle: Vec<Sender<Job>>,
    alive: usize,
    silent: HashMap<i32, Instant>,
}

static POOL: Mutex<Option<Readers>> = Mutex::new(None);

fn pool() -> MutexGuard<'static, Option<Readers>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `/proc/PID/WHAT`; `None` when it cannot be read, or not soon enough.
pub(super) fn read(pid: i32, what: &str) -> Option<Vec<u8>> {
    let path = format!("/proc/{pid}/{what}");
    ask(pid, move || super::proc::read(&path))
}

/// What `look` finds out of process `pid`; `None` when that is nothing, or does not come soon enough.
pub(super) fn ask<T: Send + 'static>(
    pid: i32,
    look: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    let reader = reader(pid)?;
    let (answer, answered): (SyncSender<Option<T>>, _) = sync_channel(1);
    let job: Job = Box::new(move || {
        let found = look();
        // Whoever asked may have gone on without.
        Box::new(move || drop(answer.send(found)))
    });
    reader.send(job).ok()?;
    match answered.recv_timeout(PATIENCE) {
        Ok(found) => found,
        Err(_) => {
            tracing::debug!("process {pid} does not let itself be read");
            if let Some(readers) = pool().as_mut() {
                let now = Instant::now();
                readers.silent.retain(|_, until| *until > now);
                readers.silent.insert(pid, now + SULK);
            }
            None
        }
    }
}

/// One that has nothing to do, or a new one.
fn reader(pid: i32) -> Option<Sender<Job>> {
    let mut pool = pool();
    let readers = pool.get_or_insert_with(|| Readers {
        idle: Vec::new(),
        alive: 0,
        silent: HashMap::new(),
    });
    let silent = readers.silent.get(&pid);
    if silent.is_some_and(|until| *until > Instant::now()) {
        return None;
    }
    if let Some(idle) = readers.idle.pop() {
        return Some(idle);
    }
    if readers.alive >= READERS {
        return None;
    }
    let (send, jobs) = channel();
    let own = send.clone();
    std::thread::Builder::new()
        .name("proc-reader".into())
        .spawn(move || work(&jobs, &own))
        .ok()?;
    readers.alive += 1;
    Some(send)
}

fn work(jobs: &Receiver<Job>, own: &Sender<Job>) {
    while let Ok(job) = jobs.recv() {
        let told = job();
        // Before the answer, so that who asks again at once finds this one.
        if let Some(readers) = pool().as_mut() {
            readers.idle.push(own.clone());
        }
        told();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_readers_are_kept() {
        let own = i32::try_from(std::process::id()).unwrap();
        for _ in 0..100 {
            assert!(read(own, "cmdline").is_some_and(|text| !text.is_empty()));
        }
        assert_eq!(read(-1, "cmdline"), None);
        let alive = pool().as_ref().map(|r| r.alive);
        assert!(alive.is_some_and(|n| n < READERS), "{alive:?}");
    }

    #[test]
    fn a_process_that_holds_its_memory_is_not_asked_again_for_a_while() {
        let far = Instant::now() + Duration::from_secs(3600);
        assert!(read(1, "cmdline").is_some(), "it is there");
        if let Some(readers) = pool().as_mut() {
            readers.silent.insert(1, far);
        }
        let then = read(1, "cmdline");
        if let Some(readers) = pool().as_mut() {
            readers.silent.remove(&1);
        }
        assert_eq!(then, None);
        assert!(read(1, "cmdline").is_some());
    }
}
