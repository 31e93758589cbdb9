//! The log's own thread: what could not be logged is tried again, anchors are logged when they are due, others are told. No seal waits for it.

use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atlas_manifests::log::checkpoint::Checkpoint;

use super::{Inner, Logbook, circulation, entry, guard, lock, signers};
use crate::background;

/// A thread without anything due looks again after so long.
const IDLE: Duration = Duration::from_secs(3600);
/// At the end others are waited for so long.
const STOP_WITHIN: Duration = Duration::from_secs(10);

impl Logbook {
    pub(super) fn spawn(self: &Arc<Self>) -> Result<JoinHandle<()>, String> {
        let book = Arc::clone(self);
        std::thread::Builder::new()
            .name("atlas-log".into())
            .spawn(move || {
                background::give_way();
                book.work();
            })
            .map_err(|e| format!("a thread for the log: {e}"))
    }

    /// The end of the instance. `whole`: nothing of it is left over, so that nothing may follow its last anchor. Waits a bounded time, for the
    /// register and for others to sign.
    pub fn stop(&self, whole: bool) {
        let deadline = Instant::now() + STOP_WITHIN;
        let Some(mut inner) = self.inner_by(deadline) else {
            tracing::warn!(
                "the log's register does not answer: what waits is logged by the next mount"
            );
            return;
        };
        if inner.instance.is_none() || inner.stopping {
            return;
        }
        if inner.not_before.is_none() && self.refusal().is_none() {
            self.anchor(&mut inner, whole);
        }
        inner.stopping = true;
        self.bell.notify_all();
        inner.waiting.append(&mut lock(&self.queue));
        if !inner.waiting.is_empty() {
            if let Err(e) = entry::save(&inner.waiting_file, &inner.waiting) {
                tracing::error!("{}: {e}", inner.waiting_file.display());
            }
            let waiting = inner.waiting.len();
            tracing::warn!(
                "{waiting} manifests are sealed and not logged: the next mount logs them"
            );
        }
        while !inner.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(
                    "witnesses or a public log do not answer: they have not seen the last checkpoint"
                );
                return;
            }
            let waited = self.bell.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(inner);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }

    /// The writer, if it is free before a deadline: who has it may be waiting for a register.
    fn inner_by(&self, deadline: Instant) -> Option<MutexGuard<'_, Inner>> {
        loop {
            match self.inner.try_lock() {
                Ok(inner) => return Some(inner),
                Err(TryLockError::Poisoned(e)) => return Some(e.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn work(&self) {
        let mut inner = lock(&self.inner);
        loop {
            let stopping = inner.stopping;
            if !stopping && self.refusal().is_none() {
                self.catch_up(&mut inner);
            }
            let Some(newest) = inner.writer.checkpoint().cloned() else {
                break;
            };
            if self.refusal().is_none()
                && self.circulation.is_due(&newest, Instant::now(), stopping)
            {
                drop(inner);
                let told = self.circulation.tell(&self.dir, &newest, stopping);
                inner = lock(&self.inner);
                match told {
                    circulation::Told::Nothing => {}
                    circulation::Told::Cosigned(cosigned) => {
                        signers::cosigned(&self.dir, &cosigned);
                        // By now a newer one may be published; this one stands beside it.
                        let _ = inner.writer.replace_checkpoint(&cosigned);
                    }
                    // By now this log may have what the witness was shown by somebody else.
                    circulation::Told::Ahead { who, shown } => {
                        let now = inner.writer.checkpoint();
                        if let Err(why) = guard::extends(&self.dir, &self.named, &who, &shown, now)
                        {
                            self.refuse(format!("{why}; it shows {:?}", shown.note.text));
                        }
                    }
                }
                if !stopping {
                    continue;
                }
            }
            if stopping {
                // The next mount has nothing to read again.
                if let Err(e) = inner.writer.settle() {
                    tracing::warn!("the transparency log: {e}");
                }
                break;
            }
            let sleep = self.patience(&inner, &newest);
            let waited = self.bell.wait_timeout(inner, sleep);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.ended = true;
        drop(inner);
        self.bell.notify_all();
    }

    fn catch_up(&self, inner: &mut Inner) {
        if inner.not_before.is_some_and(|(at, _)| Instant::now() < at) {
            return;
        }
        if self.waits(inner) {
            let _ = self.settle(inner, None);
        }
        // With hardware anchors come with their quotes.
        let due = inner.evidence.is_none() && inner.pace.due(Instant::now());
        if due || inner.owes_anchor {
            self.anchor(inner, false);
        }
    }

    /// Whether anything that is stored has no place in the log yet.
    fn waits(&self, inner: &Inner) -> bool {
        !inner.waiting.is_empty() || inner.flying.is_some() || !lock(&self.queue).is_empty()
    }

    /// How long there is nothing to do.
    fn patience(&self, inner: &Inner, newest: &Checkpoint) -> Duration {
        let now = Instant::now();
        let mut sleep = self.circulation.patience(newest, now).unwrap_or(IDLE);
        // A failure with nothing left to try again, or a log that is refused, is nothing to wake up for.
        if (self.waits(inner) || inner.owes_anchor) && self.refusal().is_none() {
            let pause = inner.not_before.map(|(at, _)| at);
            sleep = sleep.min(pause.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)));
        }
        if let (None, Some(at)) = (inner.evidence, inner.pace.next()) {
            sleep = sleep.min(at.saturating_duration_since(now));
        }
        sleep
    }
}
