//! The thread that keeps the held tasks: puts them back into the queue when a writer closes or a pause is over. It reads no file and takes no lease.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Outcome;
use super::pool::Shared;
use super::work::{Task, unreadable};

/// A task that waits for a writer, or for the machine to have room again.
pub(super) struct Parked {
    pub(super) task: Task,
    /// When to try again, if nothing happens before.
    pub(super) next: Instant,
}

/// The keeper's bell.
pub(super) struct Keeper {
    /// `None` when the system has none to give: then it looks every `WITHOUT_BELL`.
    bell: Option<OwnedFd>,
}

impl Keeper {
    pub(super) fn new() -> Self {
        Self {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
        }
    }

    /// Makes the keeper look again. Never blocks.
    pub(super) fn wake(&self) {
        if let Some(bell) = &self.bell {
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }
}

impl Shared {
    /// The keeper's life.
    pub(super) fn keep(&self) {
        loop {
            if let Some(watch) = &self.watch {
                watch.drain();
            }
            let mut state = self.lock();
            if state.stopping {
                return;
            }
            let cancelled = std::mem::take(&mut state.cancelled);
            let now = Instant::now();
            for parked in &mut state.parked {
                if self.was_closed(&parked.task) {
                    // The order of the event and of the writer being counted out was not measured: try now, and soon again.
                    parked.task.delay = AFTER_CLOSE;
                    parked.next = now;
                }
                if let Some(end) = parked.task.patience_ends(self.tuning.patience) {
                    parked.next = parked.next.min(end);
                }
            }
            let due: Vec<_> = state.parked.extract_if(.., |p| p.next <= now).collect();
            for parked in due {
                self.enqueue(&mut state, parked.task);
            }
            let next = state.parked.iter().map(|p| p.next).min();
            drop(state);
            for task in cancelled {
                self.tell_cancelled(&task);
            }
            self.wait(next.map(|next| next.saturating_duration_since(Instant::now())));
        }
    }

    fn was_closed(&self, task: &Task) -> bool {
        self.watch
            .as_ref()
            .zip(task.watched())
            .is_some_and(|(watch, inode)| watch.take_closed(inode))
    }

    fn tell_cancelled(&self, task: &Task) {
        let ticket = task.ticket;
        if let Some((watch, inode)) = self.watch.as_ref().zip(task.watched()) {
            watch.stop(inode, None);
        }
        self.tell(match self.backing.identity(task.file) {
            Ok(identity) => Outcome::Changed { ticket, identity },
            Err(e) => unreadable(ticket, &e),
        });
    }

    /// Until the bell rings, an event comes or the time is over.
    fn wait(&self, time: Option<Duration>) {
        let bell = self.keeper.bell.as_ref();
        let time = match bell {
            Some(_) => time,
            None => Some(time.unwrap_or(WITHOUT_BELL).min(WITHOUT_BELL)),
        };
        // Rounded up, so that what is due then is due.
        let time = time.map(|t| t + Duration::from_micros(100));
        let timeout = time.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = Vec::with_capacity(2);
        fds.extend(bell.map(|bell| PollFd::new(bell, PollFlags::IN)));
        fds.extend(self.watch.as_ref().map(|w| PollFd::new(w, PollFlags::IN)));
        let _ = poll(&mut fds, timeout.as_ref());
        if let Some(bell) = bell {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
        }
    }
}

/// The pause after a close, doubled at each try.
const AFTER_CLOSE: Duration = Duration::from_millis(1);
const WITHOUT_BELL: Duration = Duration::from_millis(50);
