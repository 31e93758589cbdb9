//! The log's own thread: what could not be logged is tried again, anchors are logged when they are due, others are told. No seal waits for it.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atlas_manifests::log::checkpoint::Checkpoint;

use super::{Inner, Logbook, circulation, lock, signers};
use crate::background;

/// What waits is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
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

    /// The last anchor, when the instance ends in order: after it nothing of this instance is logged. Waits a bounded time for others to sign.
    pub fn stop(&self) {
        {
            let mut inner = lock(&self.inner);
            if inner.instance.is_none() || inner.stopping {
                return;
            }
            self.anchor(&mut inner, true);
            inner.stopping = true;
        }
        self.bell.notify_all();
        let deadline = Instant::now() + STOP_WITHIN;
        let mut inner = lock(&self.inner);
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
                    circulation::Told::Ahead(why) => self.refuse(why),
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
        if !inner.waiting.is_empty() || inner.flying.is_some() {
            let _ = self.settle(inner, None);
        }
        // With hardware anchors come with their quotes.
        let due = inner.evidence.is_none() && inner.pace.due(Instant::now());
        if due || inner.owes_anchor {
            self.anchor(inner, false);
        }
    }

    /// How long there is nothing to do.
    fn patience(&self, inner: &Inner, newest: &Checkpoint) -> Duration {
        let now = Instant::now();
        let mut sleep = self.circulation.patience(newest, now).unwrap_or(IDLE);
        if !inner.waiting.is_empty() || inner.flying.is_some() || inner.owes_anchor {
            sleep = sleep.min(RETRY);
        }
        if let (None, Some(at)) = (inner.evidence, inner.pace.next()) {
            sleep = sleep.min(at.saturating_duration_since(now));
        }
        sleep
    }
}
