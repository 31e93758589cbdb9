//! A task in a worker's hands, as others see it: how far it is, and how to stop it. Does no work itself.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::quiet::{self, Leases};

/// Shared by the worker, who works, and the pool, which may cancel.
#[derive(Debug, Default)]
pub(super) struct Running {
    cancelled: AtomicBool,
    /// Bytes digested.
    pub(super) done: AtomicU64,
    /// Bytes to digest.
    pub(super) size: AtomicU64,
    /// The leased file. Taking, giving up and cancelling a lease happen under this lock, so that none is taken after `cancel`.
    leased: Mutex<Option<Arc<File>>>,
}

impl Running {
    /// Stops the digest at its next block and gives its lease up now.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.give_up();
    }

    /// The part of the bytes that was digested, 0 to 1.
    pub(super) fn progress(&self) -> f32 {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 {
            return 0.0;
        }
        (self.done.load(Ordering::Relaxed) as f64 / size as f64) as f32
    }

    /// True once `cancel` was called.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Asks for a read lease; `None` when the task is cancelled, after which none is taken.
    pub(super) fn lease(&self, file: &Arc<File>) -> Option<Leases> {
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            return None;
        }
        let answer = quiet::take(file);
        if answer == Leases::Given {
            *leased = Some(Arc::clone(file));
        }
        Some(answer)
    }

    /// Gives the lease up, if there is one.
    pub(super) fn give_up(&self) {
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = leased.take() {
            quiet::give_up(&file);
        }
    }
}
