//! The files below a directory, in order of their paths. Never follows a link, never enters `.atlas`, and opens nothing by itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A regular file.
    File(PathBuf),
    /// A directory, which is entered unless the caller says otherwise.
    Directory(PathBuf),
    /// A link, a device, a socket or a pipe: nothing that has content of its own.
    Other(PathBuf),
}

/// A walk. It keeps one list of names per level, and no descriptor.
#[derive(Debug)]
pub(crate) struct Walk {
    levels: Vec<Vec<PathBuf>>,
    entered: Option<PathBuf>,
}

impl Walk {
    /// Begins below a directory.
    pub(crate) fn below(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            levels: vec![names(dir)?],
            entered: None,
        })
    }

    /// Does not enter the directory that came last.
    pub(crate) fn skip(&mut self) {
        self.entered = None;
    }

    /// The next one; a directory that cannot be read is an error, after which the walk goes on behind it.
    pub(crate) fn next(&mut self) -> Option<Result<Step, (PathBuf, io::Error)>> {
        if let Some(dir) = self.entered.take() {
            match names(&dir) {
                Ok(names) => self.levels.push(names),
                Err(e) => return Some(Err((dir, e))),
            }
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(path) = level.pop() else {
                self.levels.pop();
                continue;
            };
            return Some(match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {
                    self.entered = Some(path.clone());
                    Ok(Step::Directory(path))
                }
                Ok(meta) if meta.is_file() => Ok(Step::File(path)),
                Ok(_) => Ok(Step::Other(path)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => Err((path, e)),
            });
        }
    }
}

/// The entries of a directory, last first.
fn names(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names: Vec<OsString> = fs::read_dir(dir)?
        .map(|e| e.map(|e| e.file_name()))
        .collect::<io::Result<_>>()?;
    names.retain(|n| n != ".atlas");
    names.sort_unstable();
    Ok(names.into_iter().rev().map(|n| dir.join(n)).collect())
}

/// Opens a file for reading without waiting for whoever is at the other end of a pipe.
pub(crate) fn open(path: &Path, follow: bool) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_leaves_out_the_state_and_follows_no_link_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for d in [".atlas", "a", "z"] {
            fs::create_dir(root.join(d)).unwrap();
        }
        for f in [".atlas/FORMAT", "a/1", "b", "z/2"] {
            fs::write(root.join(f), "x").unwrap();
        }
        std::os::unix::fs::symlink("/", root.join("a/out")).unwrap();
        let mut walk = Walk::below(root).unwrap();
        let mut seen = Vec::new();
        while let Some(step) = walk.next() {
            let step = step.unwrap();
            if step == Step::Directory(root.join("z")) {
                walk.skip();
            }
            seen.push(step);
        }
        let of = |p: &str| root.join(p);
        assert_eq!(
            seen,
            [
                Step::Directory(of("a")),
                Step::File(of("a/1")),
                Step::Other(of("a/out")),
                Step::File(of("b")),
                Step::Directory(of("z")),
            ]
        );
        assert!(open(&of("a/out"), false).is_err());
    }
}
