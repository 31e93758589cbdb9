//! Hard links that leave a directory: its files under names outside it. A look around before a mount, bounded in time; changes nothing.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Files with more names than were found below the directory.
    pub leaving: usize,
    /// One of them.
    pub example: Option<PathBuf>,
    /// False when time ran out; then `leaving` counts nothing, for the missing names could lie below the directory.
    pub complete: bool,
}

/// Looks through `dir`, without leaving its filesystem, for at most `at_most`.
pub fn leaving(dir: &Path, at_most: Duration) -> Links {
    let deadline = Instant::now() + at_most;
    let Ok(top) = std::fs::symlink_metadata(dir) else {
        return Links::default();
    };
    let mut seen: HashMap<u64, (u64, u64, PathBuf)> = HashMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        // A directory that cannot be read hides names: they count as outside, which is what a warning is for.
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            if Instant::now() >= deadline {
                return Links::default();
            }
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if meta.dev() != top.dev() {
                continue;
            }
            if meta.is_dir() {
                waiting.push(entry.path());
            } else if meta.is_file() && meta.nlink() > 1 {
                seen.entry(meta.ino())
                    .or_insert_with(|| (meta.nlink(), 0, entry.path()))
                    .1 += 1;
            }
        }
    }
    let mut outside: Vec<_> = seen
        .into_values()
        .filter(|(names, found, _)| found < names)
        .map(|(_, _, path)| path)
        .collect();
    outside.sort();
    Links {
        leaving: outside.len(),
        example: outside.into_iter().next(),
        complete: true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_links_that_leave_the_directory_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("s");
        fs::create_dir_all(source.join("d")).unwrap();
        fs::write(source.join("inner"), "x").unwrap();
        fs::hard_link(source.join("inner"), source.join("d/inner2")).unwrap();
        let long = Duration::from_secs(600);
        assert_eq!(
            leaving(&source, long),
            Links {
                leaving: 0,
                example: None,
                complete: true
            }
        );
        fs::hard_link(source.join("inner"), dir.path().join("out")).unwrap();
        let found = leaving(&source, long);
        assert_eq!(found.leaving, 1);
        assert!(found.example.unwrap().starts_with(&source));
    }

    #[test]
    fn without_time_nothing_is_claimed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "x").unwrap();
        assert!(!leaving(dir.path(), Duration::ZERO).complete);
    }
}
