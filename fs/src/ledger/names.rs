//! Names follow the inode: renames, links and deletions.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::vocabulary::State;

use super::{Ledger, Phase};
use crate::vfs::observer::FileKey;

impl Ledger {
    /// A name moved, with everything below it.
    pub fn renamed(&mut self, from: &PathBytes, to: &PathBytes, replaced: Option<FileKey>) {
        if let Some(old) = replaced {
            self.by_path.remove(&to.0);
            self.lost_name(old);
        }
        let mut below = from.0.clone();
        below.push(b'/');
        let mut moved: Vec<(Vec<u8>, FileKey)> = Vec::new();
        if let Some(key) = self.by_path.remove(&from.0) {
            moved.push((from.0.clone(), key));
        }
        let inside: Vec<Vec<u8>> = self
            .by_path
            .range(below.clone()..)
            .take_while(|(p, _)| p.starts_with(&below))
            .map(|(p, _)| p.clone())
            .collect();
        for path in inside {
            if let Some(key) = self.by_path.remove(&path) {
                moved.push((path, key));
            }
        }
        for (path, key) in moved {
            let mut new = to.0.clone();
            new.extend_from_slice(&path[from.0.len()..]);
            self.by_path.insert(new.clone(), key);
            self.rename_file(key, &PathBytes(path), PathBytes(new));
        }
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

    /// One more name.
    pub fn linked(&mut self, file: FileKey, path: PathBytes) {
        if self.files.contains_key(&file) {
            self.by_path.insert(path.0, file);
        }
    }

    /// A name is gone; `last` when no name is left. True when nobody wants the file's digest any more: a worker that reads it
    /// would only keep its space from being free.
    pub fn unlinked(&mut self, file: FileKey, path: &PathBytes, last: bool) -> bool {
        if self.by_path.get(&path.0) == Some(&file) {
            self.by_path.remove(&path.0);
        }
        if last {
            return self.lost_name(file);
        }
        if let Some(other) = self
            .by_path
            .iter()
            .find_map(|(p, k)| (*k == file).then(|| p.clone()))
        {
            self.rename_file(file, path, PathBytes(other));
        }
        false
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
        let node = &self.nodes[ix.0 as usize];
        let unwanted = node.excluded
            && !node.used
            && node.authored.is_some()
            && matches!(node.phase, Phase::Digesting | Phase::Held);
        if unwanted {
            self.at(ix).attempt += 1;
            self.settle(ix, State::Excluded, None);
        } else {
            self.tell(ix);
        }
        unwanted
    }
}
