//! One report of a file at a time: what identifies it is looked up in the order in which it is told. Not a lock on the file.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard};

use super::lock;
use crate::vfs::observer::FileKey;

/// So many files can have their turn at once, as long as no two fall together.
const LANES: usize = 64;

/// Two closes of one file on two threads: were the first to look the last to tell, the ledger would take what it says for a
/// change that nobody made.
#[derive(Debug)]
pub(super) struct Turns {
    lanes: [Mutex<()>; LANES],
    hash: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(())),
            hash: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits until nobody else reports of this file. The ledger's lock is taken inside, never around it.
    pub(super) fn of(&self, file: FileKey) -> MutexGuard<'_, ()> {
        let lane = self.hash.hash_one(file) % LANES as u64;
        lock(&self.lanes[usize::try_from(lane).unwrap_or(0)])
    }
}
