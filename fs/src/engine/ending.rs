//! How an engine ends: what is queued is sealed for a while, then the workers stop, and the rest stays in the journal. Not the mount's end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Engine, TICK, Work, lock};

/// What draining left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Versions sealed by this life in all.
    pub sealed: u64,
    /// Versions that ended and are not sealed: journaled, the next mount finishes them.
    pub left: u64,
}

impl Engine {
    /// Seals what is queued, for at most `limit`.
    pub fn drain(&self, limit: Duration) -> Drained {
        let deadline = Instant::now() + limit;
        loop {
            let counts = lock(&self.ledger).counts();
            let left = self.pending();
            // What may not be signed any more is not waited for.
            if left == 0 || Instant::now() >= deadline || self.log.refusal().is_some() {
                for text in lock(&self.ledger).on_their_way() {
                    tracing::debug!("not sealed: {text}");
                }
                return Drained {
                    sealed: counts.sealed,
                    left,
                };
            }
            std::thread::sleep(TICK);
        }
    }

    /// Ends the workers. What is not sealed stays in the journal.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(pool) = self.pool.get() {
            pool.stop();
        }
        let _ = self.scribe.send(Work::Stop);
        self.facts.close();
        for thread in [&self.scribe_thread, &self.ticker, &self.facts_thread] {
            let thread = lock(thread).take();
            if let Some(thread) = thread
                && thread.join().is_err()
            {
                tracing::error!("a worker panicked");
            }
        }
        // After the last seal, which it still covers; the log after both, whose last anchor covers them.
        if let Some(keeper) = &self.keeper {
            keeper.stop();
        }
        self.log.stop(self.pending() == 0);
        self.settle_journal();
        if self.pending() == 0
            && self.log.is_settled()
            && let Err(e) = self.journal.finish()
        {
            tracing::warn!(error = %e, "the journal stays, the next mount will read it");
        }
        // Threads that outlive this still hold the engine: the index is closed by name, or readers would find it unclosed.
        self.index.close();
    }
}
