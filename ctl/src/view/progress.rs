//! One line on standard error that says how far a long command is; nothing when standard error is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::view::escape;

const PAUSE: Duration = Duration::from_millis(100);

/// A progress line. It is wiped when dropped.
pub(crate) struct Progress {
    on: bool,
    shown: bool,
    last: Option<Instant>,
}

impl Progress {
    /// A line on standard error, if that is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            shown: false,
            last: None,
        }
    }

    /// Replaces the line, at most ten times a second.
    pub(crate) fn set(&mut self, text: impl FnOnce() -> String) {
        if !self.on || self.last.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        self.shown = true;
        let text = escape::short(&escape::line(&text()), 78);
        let mut to = io::stderr().lock();
        let _ = write!(to, "\r\x1b[K{text}").and_then(|()| to.flush());
    }

    /// Wipes the line, so that something else can be said.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut to = io::stderr().lock();
            let _ = write!(to, "\r\x1b[K").and_then(|()| to.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
