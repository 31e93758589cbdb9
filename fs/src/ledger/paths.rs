//! Which name leads to which file, and back for files with several names: the removal of one must not look through all there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use atlas_manifests::bytes::PathBytes;

use crate::vfs::observer::FileKey;

/// All names of known files.
#[derive(Debug, Default)]
pub(super) struct Paths {
    by_path: BTreeMap<Vec<u8>, FileKey>,
    /// Only of files that were seen under more than one name.
    several: HashMap<FileKey, BTreeSet<Vec<u8>>>,
}

impl Paths {
    pub(super) fn get(&self, path: &PathBytes) -> Option<FileKey> {
        self.by_path.get(&path.0).copied()
    }

    /// `path` leads to `file`, which goes by the name `known`.
    pub(super) fn insert(&mut self, path: &PathBytes, file: FileKey, known: &PathBytes) {
        if path != known && self.get(known) == Some(file) {
            let all = self.several.entry(file).or_default();
            all.insert(known.0.clone());
        }
        self.place(path.0.clone(), file);
    }

    fn place(&mut self, path: Vec<u8>, file: FileKey) {
        if let Some(all) = self.several.get_mut(&file) {
            all.insert(path.clone());
        }
        if let Some(before) = self.by_path.insert(path.clone(), file)
            && before != file
        {
            self.forget(before, &path);
        }
    }

    /// The name leads nowhere any more.
    pub(super) fn remove(&mut self, path: &[u8]) -> Option<FileKey> {
        let file = self.by_path.remove(path)?;
        self.forget(file, path);
        Some(file)
    }

    fn forget(&mut self, file: FileKey, path: &[u8]) {
        if let Some(all) = self.several.get_mut(&file) {
            all.remove(path);
            if all.is_empty() {
                self.several.remove(&file);
            }
        }
    }

    /// The file is forgotten, with all its names; `known` is the one it goes by.
    pub(super) fn drop_file(&mut self, file: FileKey, known: &PathBytes) {
        let names = self.several.remove(&file).unwrap_or_default();
        for name in names.iter().chain([&known.0]) {
            if self.by_path.get(name) == Some(&file) {
                self.by_path.remove(name);
            }
        }
    }

    /// Another name of a file of which one was removed.
    pub(super) fn other(&self, file: FileKey) -> Option<PathBytes> {
        let first = self.several.get(&file)?.first()?;
        Some(PathBytes(first.clone()))
    }

    /// A name moves with everything below it. What was found, before and after.
    pub(super) fn rename(
        &mut self,
        from: &PathBytes,
        to: &PathBytes,
    ) -> Vec<(FileKey, PathBytes, PathBytes)> {
        let mut below = from.0.clone();
        below.push(b'/');
        let inside = self
            .by_path
            .range(below.clone()..)
            .take_while(|(p, _)| p.starts_with(&below))
            .map(|(p, _)| p.clone());
        let paths: Vec<Vec<u8>> = std::iter::once(from.0.clone()).chain(inside).collect();
        let mut moved = Vec::new();
        for path in paths {
            let Some(file) = self.by_path.remove(&path) else {
                continue;
            };
            let mut new = to.0.clone();
            new.extend_from_slice(&path[from.0.len()..]);
            // First the new name, so that a file with several stays one.
            self.place(new.clone(), file);
            self.forget(file, &path);
            moved.push((file, PathBytes(path), PathBytes(new)));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ino: u64) -> FileKey {
        FileKey {
            dev: 1,
            ino,
            born: 0,
        }
    }

    fn path(text: &str) -> PathBytes {
        PathBytes(text.into())
    }

    #[test]
    fn a_removed_name_leads_to_the_others_also_after_a_rename() {
        let mut paths = Paths::default();
        let a = path("a");
        paths.insert(&a, file(1), &a);
        paths.insert(&path("d/b"), file(1), &a);
        paths.insert(&path("d/c"), file(2), &path("d/c"));
        assert_eq!(paths.remove(b"a"), Some(file(1)));
        assert_eq!(paths.other(file(1)), Some(path("d/b")));
        let moved = paths.rename(&path("d"), &path("e"));
        assert_eq!(moved.len(), 2);
        assert_eq!(paths.other(file(1)), Some(path("e/b")));
        assert_eq!(paths.get(&path("e/c")), Some(file(2)));
        assert_eq!(paths.get(&path("d/b")), None);
        assert_eq!(paths.remove(b"e/b"), Some(file(1)));
        assert_eq!(paths.other(file(1)), None);
        assert!(paths.several.is_empty(), "nothing is kept of what is gone");
    }

    #[test]
    fn a_name_that_another_file_takes_is_no_longer_the_firsts() {
        let mut paths = Paths::default();
        paths.insert(&path("a"), file(1), &path("a"));
        paths.insert(&path("b"), file(1), &path("a"));
        paths.insert(&path("b"), file(2), &path("b"));
        assert_eq!(paths.other(file(1)), Some(path("a")));
        assert_eq!(paths.get(&path("b")), Some(file(2)));
    }
}
