//! One report of a file at a time: what identifies it is looked up in the order in which it is told. Not a lock on the file.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::lock;
use crate::vfs::observer::FileKey;

/// So many files can have their turn at once, as long as no two fall together.
const LANES: usize = 64;

/// A change that is not told so long after it was announced is waited for no more: whoever makes it hangs in the store, or the machine is
/// busier than a job's open may depend on.
const ANNOUNCED: Duration = Duration::from_secs(2);
/// The same for whoever comes while another waits: not every thread of the mount may stand still for it.
const IMPATIENCE: Duration = Duration::from_millis(20);
/// How often a waiting reader looks.
const LOOK: Duration = Duration::from_millis(1);

/// Two closes of one file on two threads: were the first to look the last to tell, the ledger would take what it says for a
/// change that nobody made.
#[derive(Debug)]
pub(super) struct Turns {
    lanes: [Mutex<()>; LANES],
    hash: RandomState,
    /// Files of which a change was announced and not told, with the last announcement and how many there are.
    changing: DashMap<FileKey, (Instant, u32)>,
    /// How many wait for one of them.
    waiting: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(())),
            hash: RandomState::new(),
            changing: DashMap::new(),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Turns {
    /// Waits until nobody else reports of this file. The ledger's lock is taken inside, never around it.
    pub(super) fn of(&self, file: FileKey) -> MutexGuard<'_, ()> {
        let lane = self.hash.hash_one(file) % LANES as u64;
        lock(&self.lanes[usize::try_from(lane).unwrap_or(0)])
    }

    /// Somebody is about to change the file, and tells when it is done, or that nothing came of it.
    pub(super) fn announce(&self, file: FileKey) {
        let now = Instant::now();
        let mut change = self.changing.entry(file).or_insert((now, 0));
        *change = (now, change.1 + 1);
    }

    /// One announced change has been told.
    pub(super) fn told(&self, file: FileKey) {
        self.changing.remove_if_mut(&file, |_, (_, left)| {
            *left = left.saturating_sub(1);
            *left == 0
        });
    }

    /// Whether a change was announced and not told: who looks now may see bytes that nobody seems to have written.
    pub(super) fn is_changing(&self, file: FileKey) -> bool {
        let change = self.changing.get(&file);
        change.is_some_and(|c| c.0.elapsed() < ANNOUNCED)
    }

    /// Waits until what changes the file has been told, for two seconds at most, and not as long while another waits. Nobody waits with a turn, which the teller may need.
    pub(super) fn settled(&self, file: FileKey) {
        let alone = self.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        let patience = if alone { ANNOUNCED } else { IMPATIENCE };
        wait_while(patience, || self.is_changing(file));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// The same for whoever has time: a worker, who has seen a change that nobody told of yet.
    pub(super) fn told_of_all(&self, file: FileKey, patience: Duration) {
        wait_while(patience, || self.changing.contains_key(&file));
    }

    /// Forgets changes that are waited for no more.
    pub(super) fn sweep(&self) {
        self.changing.retain(|_, (at, _)| at.elapsed() < ANNOUNCED);
    }
}

fn wait_while(patience: Duration, so: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while so() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileKey = FileKey {
        dev: 1,
        ino: 2,
        born: 3,
    };

    #[test]
    fn a_reader_waits_for_a_truncation_to_be_told_and_for_one_that_hangs_not_for_ever() {
        let turns = Turns::default();
        turns.announce(FILE);
        turns.announce(FILE);
        turns.told(FILE);
        assert!(turns.changing.contains_key(&FILE), "one is left");
        std::thread::scope(|s| {
            let reader = s.spawn(|| turns.settled(FILE));
            turns.told(FILE);
            reader.join().unwrap();
        });
        assert!(turns.changing.is_empty());
        turns.announce(FILE);
        turns.settled(FILE);
        turns.sweep();
        assert!(turns.changing.is_empty(), "it hangs, it seems");
    }
}
