//! Names follow the inode: renames, links and deletions.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::vocabulary::State;

use super::{Ledger, Phase};
use crate::vfs::observer::FileKey;

/// Bytes whose reading takes many minutes, holes included. A deleted file of as many is not read to its end: whatever waits for its digest,
/// the end of the mount among them, would wait as long for what nobody can have any more.
const TOO_MUCH: u64 = 1 << 40;

impl Ledger {
    /// A name moved, with everything below it. True when nobody wants the digest of what it replaced any more.
    pub fn renamed(&mut self, from: &PathBytes, to: &PathBytes, replaced: Option<FileKey>) -> bool {
        let unwanted = replaced.is_some_and(|old| {
            self.by_path.remove(&to.0);
            self.lost_name(old)
        });
        for (key, path, new) in self.by_path.rename(from, to) {
            self.rename_file(key, &path, new);
        }
        unwanted
    }

    /// Two names changed places.
    pub fn exchanged(&mut self, a: &PathBytes, b: &PathBytes) {
        // No path below SOURCE begins with NUL, so nothing stands there.
        let aside = PathBytes(b"\0aside".to_vec());
        self.renamed(a, &aside, None);
        self.renamed(b, a, None);
        self.renamed(&aside, b, None);
    }

    fn rename_file(&mut self, key: FileKey, from: &PathBytes, to: PathBytes) {
        let Some(f) = self.files.get_mut(&key) else {
            return;
        };
        if f.path != *from {
            return;
        }
        f.path = to.clone();
        let nodes: Vec<_> = f
            .current
            .into_iter()
            .chain(f.writing.as_ref().map(|w| w.node))
            .collect();
        for ix in nodes {
            let ix = self.real(ix);
            self.at(ix).path = to.clone();
            self.tell(ix);
            self.journal_place(ix);
        }
    }

    /// A file was found under a name. It goes by it from now on when the one it went by leads elsewhere, or nowhere.
    pub fn placed(&mut self, file: FileKey, path: &PathBytes) {
        let Some(f) = self.files.get(&file).filter(|f| !f.gone) else {
            return;
        };
        let known = f.path.clone();
        if self.by_path.get(path) != Some(file) {
            self.by_path.insert(path, file, &known);
        }
        if known != *path && self.by_path.get(&known) != Some(file) {
            self.rename_file(file, &known, path.clone());
        }
    }

    /// One more name.
    pub fn linked(&mut self, file: FileKey, path: PathBytes) {
        if let Some(f) = self.files.get(&file) {
            self.by_path.insert(&path, file, &f.path);
        }
    }

    /// A name is gone; `last` when no name is left. True when nobody wants the file's digest any more: a worker that reads it
    /// would only keep its space from being free.
    pub fn unlinked(&mut self, file: FileKey, path: &PathBytes, last: bool) -> bool {
        if self.by_path.get(path) == Some(file) {
            self.by_path.remove(&path.0);
        }
        if last {
            return self.lost_name(file);
        }
        if let Some(other) = self.by_path.other(file) {
            self.rename_file(file, path, other);
        }
        false
    }

    /// A file was made, and has the number of one that is known: that one is gone for good. Where the store has birth times it has another key.
    pub(super) fn made_anew(&mut self, file: FileKey) {
        let Some(f) = self.files.get(&file) else {
            return;
        };
        let open = f.writing.as_ref().map(|w| self.real(w.node));
        let ended = f.current.map(|c| self.real(c));
        if open.is_some_and(|ix| self.nodes[ix].phase == Phase::Open) {
            self.abandon(file, None, "deleted before it was closed");
        }
        self.files.remove(&file);
        for ix in open.into_iter().chain(ended) {
            let node = self.at(ix);
            node.gone = true;
            if matches!(node.phase, Phase::Digesting | Phase::Held) {
                node.attempt += 1;
                self.deleted(ix);
            } else {
                self.tell(ix);
            }
        }
    }

    fn lost_name(&mut self, file: FileKey) -> bool {
        let Some(f) = self.files.get_mut(&file) else {
            return false;
        };
        f.gone = true;
        let Some(ix) = f.current.map(|c| self.real(c)) else {
            return false;
        };
        self.at(ix).gone = true;
        let node = &self.nodes[ix];
        let read = matches!(node.phase, Phase::Digesting | Phase::Held);
        let large = node.identity.is_some_and(|i| i.size >= TOO_MUCH);
        let unwanted = node.excluded && !node.used && node.authored.is_some();
        if read && unwanted {
            self.at(ix).attempt += 1;
            self.settle(ix, State::Excluded, None);
        } else if read && large {
            self.at(ix).attempt += 1;
            self.deleted(ix);
        } else {
            self.tell(ix);
        }
        read && (unwanted || large)
    }
}
