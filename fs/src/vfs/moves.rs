//! Renames, one at a time, and who looks at a name meanwhile. Not the table of names: see `inode`.
//!
//! The kernel keeps two renames in one directory apart, but not a rename from an open, which takes no directory's lock, nor the
//! rename of a directory from what happens below it. Three things must not be mixed up: what the store did, what the table of names
//! says, and what the observer was told.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::inode::lock;
use super::observer::FileKey;

/// Order among renames, and between renames and lookups.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Held from before a rename until the observer knows of it.
    one: Mutex<()>,
    /// Whoever finds an inode by a name and notes that name reads; whoever takes a name away writes. Nobody waits for anybody else inside.
    table: RwLock<()>,
    /// While a rename is under way: the files whose names were asked for.
    doubted: Mutex<Option<Vec<FileKey>>>,
}

/// A rename under way. Ends when it is dropped, whether it came about or not.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    moves: &'a Moves,
    _one: MutexGuard<'a, ()>,
}

impl Moves {
    /// Waits until no other rename is under way.
    pub(crate) fn begin(&self) -> Move<'_> {
        let one = lock(&self.one);
        *lock(&self.doubted) = Some(Vec::new());
        Move {
            moves: self,
            _one: one,
        }
    }

    /// To look a name up in the store and note it.
    pub(crate) fn looking(&self) -> RwLockReadGuard<'_, ()> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To take a name away in the store and in the table.
    pub(crate) fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file's path was taken from the table and goes to the observer. Called after it was taken, and before anybody else can tell the observer anything.
    pub(crate) fn asked(&self, file: FileKey) {
        if let Some(doubted) = &mut *lock(&self.doubted) {
            doubted.push(file);
        }
    }
}

impl Move<'_> {
    /// The files of which the observer may have heard a name that this rename changed, since the last call.
    pub(crate) fn doubted(&self) -> Vec<FileKey> {
        let mut doubted = lock(&self.moves.doubted);
        let mut files = doubted.replace(Vec::new()).unwrap_or_default();
        files.sort_unstable();
        files.dedup();
        files
    }
}

impl Drop for Move<'_> {
    fn drop(&mut self) {
        *lock(&self.moves.doubted) = None;
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
    fn a_name_asked_for_during_a_rename_is_doubted_and_no_other() {
        let moves = Moves::default();
        moves.asked(FILE);
        let rename = moves.begin();
        assert!(rename.doubted().is_empty());
        moves.asked(FILE);
        moves.asked(FILE);
        assert_eq!(rename.doubted(), [FILE]);
        assert!(rename.doubted().is_empty());
        drop(rename);
        moves.asked(FILE);
        assert!(moves.begin().doubted().is_empty());
    }
}
