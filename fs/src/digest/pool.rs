//! Bounded worker threads that digest backing files. Not on the FUSE threads, and not the judge of what a digest means.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::Quiet;

use super::{ContentTree, HEAD, Job, Outcome};
use crate::vfs::observer::Backing;

/// The workers and their queue.
pub struct DigestPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    backing: Arc<dyn Backing>,
    tell: Box<dyn Fn(Outcome) + Send + Sync>,
    queue: Mutex<(VecDeque<Job>, bool)>,
    wake: Condvar,
}

impl DigestPool {
    /// Starts `threads` workers (at least one). `tell` is called on them.
    pub fn start(
        threads: usize,
        backing: Arc<dyn Backing>,
        tell: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            backing,
            tell,
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let threads = (0..threads.max(1))
            .filter_map(|n| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("digest-{n}"))
                    .spawn(move || shared.work())
                    .inspect_err(|e| tracing::error!("digest worker {n} did not start: {e}"))
                    .ok()
            })
            .collect();
        Arc::new(Self {
            shared,
            threads: Mutex::new(threads),
        })
    }

    /// Queues a job. Never blocks on I/O.
    pub fn submit(&self, job: Job) {
        self.shared.lock().0.push_back(job);
        self.shared.wake.notify_one();
    }

    /// Jobs that no worker has taken yet.
    pub fn queued(&self) -> usize {
        self.shared.lock().0.len()
    }

    /// Drops what is queued, and waits for the workers.
    pub fn stop(&self) {
        {
            let mut queue = self.shared.lock();
            queue.0.clear();
            queue.1 = true;
        }
        self.shared.wake.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Job>, bool)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let job = loop {
                if queue.1 {
                    return;
                }
                if let Some(job) = queue.0.pop_front() {
                    break job;
                }
                queue = self
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            let ticket = job.ticket;
            let outcome = self.digest(job).unwrap_or_else(|e| {
                if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESTALE) {
                    Outcome::Gone { ticket }
                } else {
                    Outcome::Failed {
                        ticket,
                        error: e.to_string(),
                    }
                }
            });
            (self.tell)(outcome);
        }
    }

    fn digest(&self, job: Job) -> io::Result<Outcome> {
        let ticket = job.ticket;
        let file = self.backing.open_read(job.file)?;
        let before: FileIdentity = self.backing.identity(job.file)?;
        if job.expect.is_some_and(|expect| expect != before) {
            return Ok(Outcome::Changed {
                ticket,
                identity: before,
            });
        }
        let mut tree = job.tree.unwrap_or_else(|| ContentTree::unread(before.size));
        let head = head_of(&file, before.size)?;
        let digests = tree
            .finish(|at, buffer| file.read_exact_at(buffer, at))
            .map_err(io::Error::other)?;
        let identity = self.backing.identity(job.file)?;
        Ok(if identity == before {
            Outcome::Done {
                ticket,
                digests,
                quiet: Quiet::Held,
                identity,
                head,
            }
        } else {
            Outcome::Changed { ticket, identity }
        })
    }
}

fn head_of(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; size.min(HEAD as u64) as usize];
    file.read_exact_at(&mut head, 0)?;
    Ok(head)
}
