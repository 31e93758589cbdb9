//! When to write a seal event and when to make an anchor. Pure decisions over a clock that is handed in; no thread, no event log.

use std::time::{Duration, Instant};

/// Manifests wait this long for the seal event that names them.
pub const SEAL_EVERY: Duration = Duration::from_secs(10);
/// So many manifests do not wait.
pub const SEAL_AT: u64 = 10_000;
/// A sealed manifest waits this long for the quote that proves its event.
pub const ANCHOR_EVERY: Duration = Duration::from_secs(60);
/// So many sealed manifests do not wait.
pub const ANCHOR_AT: u64 = 10_000;
/// After a failure nothing is tried again for so long.
pub const RETRY: Duration = Duration::from_secs(10);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A seal event over all manifests that wait for one; then `Pace::wrote`.
    Seal,
    /// An anchor; then `Pace::anchored`. No manifest waits for its seal event then.
    Anchor,
}

/// Counts what was sealed, and says when it is due. For one thread, which does what is due before it counts on.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Manifests without a seal event, and since when there are any.
    waiting: u64,
    waiting_since: Option<Instant>,
    /// Manifests with one that no anchor covers.
    unanchored: u64,
    /// When the first manifest was sealed that no anchor covers, with or without its event.
    unanchored_since: Option<Instant>,
    not_before: Option<Instant>,
}

impl Pace {
    /// So many manifests were sealed.
    pub fn sealed(&mut self, now: Instant, names: u64) {
        if names == 0 {
            return;
        }
        self.waiting = self.waiting.saturating_add(names);
        self.waiting_since.get_or_insert(now);
        self.unanchored_since.get_or_insert(now);
    }

    /// What is due. To be asked again after it is done: a seal event may make an anchor due.
    pub fn due(&self, now: Instant) -> Option<Due> {
        if self.not_before.is_some_and(|t| now < t) {
            return None;
        }
        let over = |since: Option<Instant>, most| {
            since.is_some_and(|t| now.saturating_duration_since(t) >= most)
        };
        let anchor = over(self.unanchored_since, ANCHOR_EVERY)
            || self.waiting.saturating_add(self.unanchored) >= ANCHOR_AT;
        let seal = over(self.waiting_since, SEAL_EVERY) || self.waiting >= SEAL_AT;
        // What an anchor does not cover for want of a seal event would wait for the next one.
        if self.waiting > 0 && (seal || anchor) {
            return Some(Due::Seal);
        }
        (self.unanchored > 0 && anchor).then_some(Due::Anchor)
    }

    /// What is due when the instance ends, whatever the clock says: everything. To be asked until there is nothing.
    pub fn due_at_end(&self) -> Option<Due> {
        if self.waiting > 0 {
            return Some(Due::Seal);
        }
        (self.unanchored > 0).then_some(Due::Anchor)
    }

    /// The time at which something will be due if nothing else is sealed: how long a thread may sleep.
    pub fn next(&self) -> Option<Instant> {
        let count = self.waiting.saturating_add(self.unanchored);
        let at = if count >= ANCHOR_AT {
            self.unanchored_since
        } else {
            let seal = self.waiting_since.map(|t| t + SEAL_EVERY);
            let anchor = self.unanchored_since.map(|t| t + ANCHOR_EVERY);
            seal.into_iter().chain(anchor).min()
        }?;
        Some(self.not_before.map_or(at, |t| t.max(at)))
    }

    /// The seal event is in the log: it names all manifests that waited.
    pub fn wrote(&mut self) {
        self.unanchored = self.unanchored.saturating_add(self.waiting);
        self.waiting = 0;
        self.waiting_since = None;
        self.not_before = None;
    }

    /// The anchor is made: it covers all manifests that had a seal event.
    pub fn anchored(&mut self) {
        self.unanchored = 0;
        self.unanchored_since = self.waiting_since;
        self.not_before = None;
    }

    /// What was due failed. It stays due, a little later.
    pub fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + RETRY);
    }

    /// Manifests that no anchor covers.
    pub fn open(&self) -> u64 {
        self.waiting.saturating_add(self.unanchored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lonely_manifest_gets_its_event_after_ten_seconds_and_its_anchor_after_sixty() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(after(start, 1000)), None);
        assert_eq!(pace.next(), None);
        pace.sealed(start, 1);
        assert_eq!(pace.due(after(start, 9)), None);
        assert_eq!(pace.next(), Some(after(start, 10)));
        assert_eq!(pace.due(after(start, 10)), Some(Due::Seal));
        pace.wrote();
        assert_eq!(pace.due(after(start, 59)), None);
        assert_eq!(pace.next(), Some(after(start, 60)));
        assert_eq!(pace.due(after(start, 60)), Some(Due::Anchor));
        pace.anchored();
        assert_eq!(pace.due(after(start, 1000)), None);
    }

    #[test]
    fn an_anchor_leaves_no_manifest_behind_that_has_no_event_yet() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.sealed(start, 1);
        pace.wrote();
        pace.sealed(after(start, 59), 1);
        assert_eq!(pace.due(after(start, 60)), Some(Due::Seal));
        pace.wrote();
        assert_eq!(pace.due(after(start, 60)), Some(Due::Anchor));
    }

    #[test]
    fn a_burst_does_not_wait_for_the_clock() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.sealed(start, ANCHOR_AT - 1);
        assert_eq!(pace.due(start), None);
        pace.sealed(start, 1);
        assert_eq!(pace.due(start), Some(Due::Seal));
        pace.wrote();
        assert_eq!(pace.due(start), Some(Due::Anchor));
    }

    #[test]
    fn a_failure_is_tried_again_later_and_not_at_once() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.sealed(start, 1);
        pace.failed(after(start, 10));
        assert_eq!(pace.due(after(start, 19)), None);
        assert_eq!(pace.next(), Some(after(start, 20)));
        assert_eq!(pace.due(after(start, 20)), Some(Due::Seal));
        assert_eq!(pace.due_at_end(), Some(Due::Seal));
    }

    proptest! {
        /// A thread that sleeps as `next` says keeps both promises, and the end leaves nothing open.
        #[test]
        fn no_manifest_waits_longer_than_promised_whatever_comes(steps in prop::collection::vec((0u64..20_000, 0u64..15_000), 1..40)) {
            let start = Instant::now();
            let mut now = start;
            let mut pace = Pace::default();
            // When the manifests were sealed that have no event, and no anchor.
            let mut no_event: Vec<(Instant, u64)> = vec![];
            let mut no_anchor: Vec<(Instant, u64)> = vec![];
            let mut last_event: Option<Instant> = None;
            for (pause, names) in steps {
                let arrival = now + Duration::from_millis(pause);
                while let Some(at) = pace.next().filter(|t| *t <= arrival) {
                    now = now.max(at);
                    let due = pace.due(now);
                    prop_assert!(due.is_some(), "woken for nothing");
                    match due {
                        Some(Due::Seal) => {
                            let count: u64 = no_event.iter().map(|(_, n)| n).sum();
                            let soon = last_event.is_some_and(|t| now - t < SEAL_EVERY);
                            let anchor = no_anchor.first().is_some_and(|(t, _)| now - *t >= ANCHOR_EVERY)
                                || pace.open() >= ANCHOR_AT;
                            prop_assert!(!soon || count >= SEAL_AT || anchor, "seal events in a row");
                            last_event = Some(now);
                            no_event.clear();
                            pace.wrote();
                        }
                        Some(Due::Anchor) => {
                            prop_assert!(no_event.is_empty(), "an anchor before its event");
                            no_anchor.clear();
                            pace.anchored();
                        }
                        None => {}
                    }
                }
                now = arrival;
                prop_assert!(no_event.iter().all(|(t, _)| now - *t < SEAL_EVERY));
                prop_assert!(no_anchor.iter().all(|(t, _)| now - *t < ANCHOR_EVERY));
                prop_assert!(pace.open() < ANCHOR_AT);
                pace.sealed(now, names);
                if names > 0 {
                    no_event.push((now, names));
                    no_anchor.push((now, names));
                }
            }
            let mut rounds = 0;
            while let Some(due) = pace.due_at_end() {
                match due {
                    Due::Seal => pace.wrote(),
                    Due::Anchor => pace.anchored(),
                }
                rounds += 1;
            }
            prop_assert!(rounds <= 2 && pace.open() == 0 && pace.next().is_none());
        }
    }
}
