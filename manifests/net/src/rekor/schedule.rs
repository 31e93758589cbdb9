//! When the public log is asked again: at most once an interval, and after a failure at growing distances. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// No wish of a server to be left alone is heeded for longer.
const MAX_AFTER: Duration = Duration::from_secs(3600);

/// Distances between tries that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            most: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// How long to wait after so many failures in a row: each time twice as long, less up to a half by `seed`, so that those who failed
    /// together do not come back together.
    pub fn after(&self, failures: u32, seed: u64) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1).min(31));
        let whole = self.first.saturating_mul(doubled.unwrap_or(u32::MAX));
        let whole = whole.min(self.most);
        // Another part each time, of the upper half.
        let part = seed.rotate_left(failures.wrapping_mul(7)) % 1024;
        whole / 2 + whole.mul_f64(part as f64 / 2048.0)
    }
}

/// What was tried, and what follows from it.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    backoff: Backoff,
    seed: u64,
    failures: u32,
    next: Option<Instant>,
}

impl Schedule {
    /// Nothing was tried yet. `seed` is any number that others do not have too.
    pub fn new(interval: Duration, backoff: Backoff, seed: u64) -> Self {
        Self {
            interval,
            backoff,
            seed,
            failures: 0,
            next: None,
        }
    }

    /// How long from `now` until something may be tried.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next
            .map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// How many tries failed since the last that did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What was begun at `begun` succeeded.
    pub fn succeeded(&mut self, begun: Instant) {
        self.failures = 0;
        self.next = begun.checked_add(self.interval);
    }

    /// It failed, at `now`. What fails until somebody acts is tried once an interval all the same: somebody may have.
    pub fn failed(&mut self, now: Instant, retryable: bool, after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let own = if retryable {
            self.backoff.after(self.failures, self.seed)
        } else {
            self.interval.max(self.backoff.first)
        };
        let wait = own.max(after.unwrap_or_default().min(MAX_AFTER));
        self.next = now.checked_add(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn distances_grow_to_the_longest_and_never_vanish() {
        let backoff = Backoff::default();
        for seed in [0, 1, 0x5bd1_e995_7f4a_7c15, u64::MAX] {
            for failures in 1..2000 {
                let whole = backoff.first.saturating_mul(1 << (failures - 1).min(20));
                let (whole, got) = (whole.min(backoff.most), backoff.after(failures, seed));
                assert!(got >= whole / 2 && got <= whole, "{failures} {got:?}");
            }
            let _ = backoff.after(u32::MAX, seed);
        }
        let spread: std::collections::HashSet<_> = (0..64)
            .map(|n: u64| backoff.after(8, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        assert!(spread.len() > 16);
    }

    #[test]
    fn a_public_log_is_asked_once_an_interval_and_not_at_once_after_a_failure() {
        let start = Instant::now();
        let mut s = Schedule::new(10 * MINUTE, Backoff::default(), 7);
        assert_eq!(s.wait(start), Duration::ZERO);
        s.succeeded(start);
        assert_eq!(s.wait(start + MINUTE), 9 * MINUTE);
        assert_eq!(s.wait(start + 11 * MINUTE), Duration::ZERO);
        s.failed(start, true, None);
        let first = s.wait(start);
        assert!(first > Duration::ZERO && first <= Duration::from_secs(5));
        for _ in 0..20 {
            s.failed(start, true, None);
        }
        assert!(s.wait(start) >= 5 * MINUTE && s.wait(start) <= 10 * MINUTE);
        assert_eq!(s.failures(), 21);
        s.succeeded(start);
        s.failed(start, false, None);
        assert_eq!(s.wait(start), 10 * MINUTE);
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is_but_not_for_ever() {
        let start = Instant::now();
        let mut s = Schedule::new(MINUTE, Backoff::default(), 7);
        s.failed(start, true, Some(2 * MINUTE));
        assert_eq!(s.wait(start), 2 * MINUTE);
        s.failed(start, true, Some(Duration::MAX));
        assert_eq!(s.wait(start), MAX_AFTER);
    }
}
