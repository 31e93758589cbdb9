//! What is known of a file's content group by group, kept up as its bytes pass by. Not a file: it reads nothing but through `finish`'s reader.
//!
//! A group is known by its BLAKE3 chaining value, so order does not matter and an overwrite costs the groups it touches. Groups that were written
//! in part, in any other order than from their start, and holes are not known ("dirty") and are read again at the end. SHA-256 has no tree: it is
//! kept for the prefix that came in order, and goes on from there at the end, where every group it passes is checked against the tree, so that
//! both digests name the same bytes.

use std::collections::BTreeMap;
use std::io;

use atlas_manifests::digest::{Blake3, Digests, Sha256};
use blake3::hazmat::{ChainingValue, HasherExt as _};
use sha2::Digest as _;

use super::chain::{Chain, GROUP, group_value};

/// Why a tree could not be finished, or a read does not stand.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The storage does not hold what was written through the daemon.
    #[error(
        "the bytes at offset {offset} are not those that were written: the storage changed behind the mount"
    )]
    Differs {
        /// Where the group that differs begins.
        offset: u64,
    },
    /// The file is not as long as the writes made it.
    #[error(
        "it has {stored} bytes, but {written} were written: the storage changed behind the mount"
    )]
    Length {
        /// As the writes and truncations told make it.
        written: u64,
        /// As it is.
        stored: u64,
    },
    /// The reader failed.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// The known part of one file's content. Memory: about 60 bytes for each MiB that was written in whole groups.
pub struct ContentTree {
    len: u64,
    /// Groups whose bytes are known; every other group below `len` is dirty.
    known: BTreeMap<u64, ChainingValue>,
    running: Option<Running>,
    prefix: Prefix,
}

/// A group that is being filled from its start, by writes too small to hash alone.
struct Running {
    group: u64,
    hasher: blake3::Hasher,
    filled: u64,
}

/// SHA-256 of the first `next` bytes.
#[derive(Clone, Default)]
struct Prefix {
    hasher: sha2::Sha256,
    next: u64,
}

impl ContentTree {
    /// Of an empty file.
    pub fn new() -> Self {
        Self::unread(0)
    }

    /// Of a file of `len` bytes of which nothing is known.
    pub fn unread(len: u64) -> Self {
        Self {
            len,
            known: BTreeMap::new(),
            running: None,
            prefix: Prefix::default(),
        }
    }

    /// The file's length, as the writes and truncations told so far make it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when nothing is known, so that finishing means reading everything.
    pub fn knows_nothing(&self) -> bool {
        self.known.is_empty() && self.running.is_none() && self.prefix.next == 0
    }

    /// These bytes were written. A write past the end leaves a hole of zeros.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return; // no file reaches 2^64: such a write fails
        };
        if bytes.is_empty() {
            return;
        }
        self.grow(end);
        self.prefix.write(offset, bytes);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = GROUP - at % GROUP;
            let (piece, later) = rest.split_at(rest.len().min(room as usize));
            self.write_in_group(at / GROUP, at % GROUP, piece);
            at += piece.len() as u64;
            rest = later;
        }
    }

    /// The file was cut, or extended with zeros, to `len`.
    pub fn truncate(&mut self, len: u64) {
        if len >= self.len {
            self.grow(len);
            return;
        }
        self.len = len;
        self.known.split_off(&(len / GROUP));
        self.running.take_if(|r| r.group * GROUP + r.filled > len);
        if self.prefix.next > len {
            self.prefix = Prefix::default();
        }
    }

    /// Bytes of `range` were changed by other means (fallocate, copy_file_range): they are dirty now. The file reaches at least to its end.
    pub fn forget(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        if len == 0 {
            return;
        }
        self.grow(end);
        let groups = offset / GROUP..end.div_ceil(GROUP);
        self.running.take_if(|r| groups.contains(&r.group));
        let gone: Vec<u64> = self.known.range(groups).map(|(g, _)| *g).collect();
        for group in gone {
            self.known.remove(&group);
        }
        if self.prefix.next > offset {
            self.prefix = Prefix::default();
        }
    }

    /// Completes both digests. `read_at` fills the whole buffer from the offset, or fails; it is asked for dirty groups and for what SHA-256 has
    /// not seen, in order, one group of 1 MiB at most at a time. Afterwards every group is known, so that `check` covers the file.
    pub fn finish(
        &mut self,
        mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Digests, TreeError> {
        self.settle();
        let groups = self.len.div_ceil(GROUP);
        let seen = self.prefix.next.div_ceil(GROUP);
        if (self.known.range(..seen).count() as u64) < seen {
            // SHA-256 went over bytes that the tree cannot vouch for: only a common pass makes both name the same.
            self.prefix = Prefix::default();
        }
        let mut chain = Chain::default();
        let mut alone = None;
        let mut buffer = Vec::new();
        for group in 0..groups {
            let start = group * GROUP;
            let len = self.group_len(group);
            let known = self.known.get(&group).copied();
            // A file of one group has a root of its own, which its chaining value does not give.
            let value = match known {
                Some(value) if groups > 1 && start + len <= self.prefix.next => value,
                _ => {
                    buffer.resize(len as usize, 0);
                    read_at(start, &mut buffer)?;
                    let value = group_value(group, &buffer);
                    if known.is_some_and(|known| known != value) {
                        return Err(TreeError::Differs { offset: start });
                    }
                    let from = self.prefix.next.saturating_sub(start).min(len);
                    self.prefix.write(start + from, &buffer[from as usize..]);
                    alone = (groups == 1).then(|| Blake3::of(&buffer));
                    value
                }
            };
            self.known.insert(group, value);
            chain.push(value);
        }
        let blake3 = chain.root().or(alone).unwrap_or_else(|| Blake3::of(b""));
        Ok(Digests {
            blake3,
            sha256: Sha256(self.prefix.hasher.clone().finalize().into()),
            size: self.len,
        })
    }

    /// Compares bytes that were read at `offset` with what is known: `Ok` with how many of them lie in groups that are known and wholly covered.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<u64, TreeError> {
        let end = offset.saturating_add(bytes.len() as u64).min(self.len);
        let mut checked = 0;
        for group in offset.div_ceil(GROUP)..end.div_ceil(GROUP) {
            let start = group * GROUP;
            let len = self.group_len(group);
            let Some(known) = self.known.get(&group) else {
                continue;
            };
            if start + len > end {
                break;
            }
            let from = (start - offset) as usize;
            if group_value(group, &bytes[from..from + len as usize]) != *known {
                return Err(TreeError::Differs { offset: start });
            }
            checked += len;
        }
        Ok(checked)
    }

    fn group_len(&self, group: u64) -> u64 {
        GROUP.min(self.len - group * GROUP)
    }

    fn grow(&mut self, len: u64) {
        if len <= self.len {
            return;
        }
        if !self.len.is_multiple_of(GROUP) {
            self.known.remove(&(self.len / GROUP));
        }
        self.len = len;
    }

    fn write_in_group(&mut self, group: u64, at: u64, bytes: &[u8]) {
        if bytes.len() as u64 == GROUP {
            self.running.take_if(|r| r.group == group);
            self.known.insert(group, group_value(group, bytes));
            return;
        }
        if at == 0
            && self
                .running
                .as_ref()
                .is_none_or(|r| r.group != group || r.filled > 0)
        {
            self.settle();
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(group * GROUP);
            self.running = Some(Running {
                group,
                hasher,
                filled: 0,
            });
        }
        self.known.remove(&group);
        let Some(running) = self.running.as_mut().filter(|r| r.group == group) else {
            return;
        };
        if running.filled != at {
            self.running = None;
            return;
        }
        running.hasher.update(bytes);
        running.filled += bytes.len() as u64;
        if running.filled == GROUP {
            self.settle();
        }
    }

    /// Keeps what the running group came to, when it is the whole of its group.
    fn settle(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if running.filled == self.group_len(running.group) {
            self.known
                .insert(running.group, running.hasher.finalize_non_root());
        }
    }
}

impl Default for ContentTree {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ContentTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentTree")
            .field("len", &self.len)
            .field("known", &self.known.len())
            .field("in_order", &self.prefix.next)
            .finish_non_exhaustive()
    }
}

impl Prefix {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if offset == 0 && self.next > 0 {
            *self = Self::default();
        }
        if offset == self.next {
            self.hasher.update(bytes);
            self.next += bytes.len() as u64;
        } else if offset < self.next {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
