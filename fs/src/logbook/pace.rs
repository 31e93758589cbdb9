//! When an anchor is due where no quote sets the pace. A pure decision over a clock that is handed in.

use std::time::Instant;

use crate::attest::batches::{ANCHOR_AT, ANCHOR_EVERY};

/// Counts leaves since the last anchor.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    leaves: u64,
    since: Option<Instant>,
}

impl Pace {
    /// So many leaves were logged.
    pub(super) fn logged(&mut self, now: Instant, leaves: u64) {
        if leaves > 0 {
            self.leaves = self.leaves.saturating_add(leaves);
            self.since.get_or_insert(now);
        }
    }

    /// Whether an anchor is due.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.leaves >= ANCHOR_AT || self.next().is_some_and(|at| now >= at)
    }

    /// When it will be, if nothing else is logged.
    pub(super) fn next(&self) -> Option<Instant> {
        self.since.map(|at| at + ANCHOR_EVERY)
    }

    /// It is logged, or will be: an anchor is not what makes the next one due.
    pub(super) fn anchored(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_comes_after_a_minute_or_ten_thousand_leaves_and_never_for_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(!pace.due(start + 100 * ANCHOR_EVERY));
        pace.logged(start, 0);
        assert_eq!(pace.next(), None);
        pace.logged(start, 1);
        pace.logged(start + ANCHOR_EVERY / 2, 1);
        assert!(!pace.due(start + ANCHOR_EVERY / 2));
        assert!(pace.due(start + ANCHOR_EVERY));
        pace.anchored();
        assert!(!pace.due(start + 2 * ANCHOR_EVERY));
        pace.logged(start, ANCHOR_AT);
        assert!(pace.due(start));
    }
}
