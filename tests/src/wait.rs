//! Waiting for what must come, with an end. Deadlines here only end a test that has failed: none is an assertion about speed.

use std::time::{Duration, Instant};

/// Long enough for a machine of two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks `ready` again until it gives something; panics with `what` when patience ends.
pub fn until<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    paced(Duration::from_millis(20), what, ready)
}

/// The same for what comes within microseconds as a rule.
pub fn spin<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    paced(Duration::from_micros(100), what, ready)
}

fn paced<T>(pause: Duration, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(pause);
    }
}
