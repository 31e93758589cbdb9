//! Inode numbers: the store's own wherever that is possible, because `stat`, `readdir` and hard-link detection all rest on them.
//!
//! fuser uses one number both for the kernel's name of an inode and for what stat shows. Only SOURCE itself has two: the kernel calls it 1.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::observer::FileKey;

/// The kernel's name of an inode of this mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u64);

/// The root of the mount.
pub(crate) const ROOT: NodeId = NodeId(1);

/// Numbers from here on belong to inodes that the store does not have.
pub(crate) const VIRTUAL: u64 = 1 << 63;

/// Numbers from here on belong to filesystems mounted below SOURCE, and to inode numbers that do not fit below.
const FOREIGN: u64 = 1 << 62;
const INO_BITS: u32 = 48;

/// Numbers of one mount.
#[derive(Debug)]
pub(crate) struct Numbers {
    root: FileKey,
    /// Devices other than SOURCE's and the upper bits of inode numbers there, by order of appearance. Overlays tell their layers apart by
    /// the uppermost bits of all (`xino`), so these must not be cut off.
    foreign: Mutex<HashMap<(u64, u64), u64>>,
}

impl Numbers {
    pub(crate) fn new(root: FileKey) -> Self {
        Self {
            root,
            foreign: Mutex::default(),
        }
    }

    /// The kernel's name for a backing inode.
    pub(crate) fn id_of(&self, key: FileKey) -> NodeId {
        if key == self.root {
            return ROOT;
        }
        if key.dev == self.root.dev && key.ino > ROOT.0 && key.ino < FOREIGN {
            return NodeId(key.ino);
        }
        let place = {
            let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
            let next = foreign.len() as u64;
            *foreign
                .entry((key.dev, key.ino >> INO_BITS))
                .or_insert(next)
        };
        let low = key.ino & ((1 << INO_BITS) - 1);
        NodeId(FOREIGN | ((place << INO_BITS) & (FOREIGN - 1)) | low)
    }

    /// The number that stat shows.
    pub(crate) fn shown(&self, id: NodeId) -> u64 {
        if id == ROOT { self.root.ino } else { id.0 }
    }

    /// What stat shows with this number.
    pub(crate) fn shown_as(&self, ino: u64) -> NodeId {
        if ino == self.root.ino {
            ROOT
        } else {
            NodeId(ino)
        }
    }

    /// The number of an entry of a directory on `dev` of which only the store's number is known.
    pub(crate) fn entry(&self, dev: u64, ino: u64) -> u64 {
        if dev == self.root.dev && ino == self.root.ino {
            return ino;
        }
        let born = 0;
        self.id_of(FileKey { dev, ino, born }).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dev: u64, ino: u64) -> FileKey {
        FileKey { dev, ino, born: 5 }
    }

    #[test]
    fn no_two_inodes_share_a_number_and_entries_agree_with_stat() {
        let numbers = Numbers::new(key(10, 2));
        let keys = [
            key(10, 2),
            key(10, 1),
            key(10, 3),
            key(11, 1),
            key(11, 2),
            key(11, 3),
            key(12, 3),
            key(10, 1 << 62),
            key(10, 1 << 62 | 3),
            key(10, 1 << 63 | 3),
            key(10, 3 << 62 | 3),
            key(11, 1 << 48 | 3),
        ];
        let mut ids: Vec<NodeId> = keys.iter().map(|k| numbers.id_of(*k)).collect();
        for (key, id) in keys.iter().zip(&ids) {
            assert!(id.0 < VIRTUAL);
            assert_eq!(numbers.entry(key.dev, key.ino), numbers.shown(*id));
            assert_eq!(numbers.shown_as(numbers.shown(*id)), *id);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), keys.len());
        assert_eq!(numbers.id_of(key(10, 2)), ROOT);
        assert_eq!(numbers.shown(ROOT), 2);
    }
}
