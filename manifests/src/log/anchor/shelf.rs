//! Where the anchors of a log are kept: `rekor/<our size>.tlog-proof` beside the log, one file each, for readers who need no daemon. Not whether
//! they prove anything: that is checked again by whoever reads them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::AnchorError;
use super::record::PublicAnchor;
use crate::durable::{make_dir, write_durably};
use crate::given::{self, GivenError};
use crate::log::checkpoint::decimal;
use crate::log::proof::MAX_FILE;

/// Below the log's directory.
pub const DIR: &str = "rekor";
const EXTENSION: &str = "tlog-proof";

/// Why an anchor is not stored, or not read.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no anchor.
    #[error("{path:?}: {source}: remove it; the log's next checkpoint is anchored anew")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: AnchorError,
    },
}

/// One file of the shelf.
#[derive(Debug)]
pub struct Found {
    /// How many leaves our log had, by the file's name.
    pub size: u64,
    /// What stands in it.
    pub anchor: Result<PublicAnchor, ShelfError>,
}

/// Keeps an anchor. Durable when it returns.
///
/// # Errors
/// When it cannot be written, or is longer than any that is read.
pub fn store(log_dir: &Path, anchor: &PublicAnchor) -> Result<PathBuf, ShelfError> {
    let path = file(log_dir, anchor.checkpoint.head.head.size);
    let damaged = |source| ShelfError::Damaged {
        path: path.clone(),
        source,
    };
    let bytes = anchor.encode().map_err(damaged)?;
    // What no reader could read is not kept.
    PublicAnchor::decode(&bytes).map_err(damaged)?;
    let io = |source| ShelfError::Io {
        path: path.clone(),
        source,
    };
    make_dir(&log_dir.join(DIR), 0o755).map_err(io)?;
    write_durably(&path, &bytes, 0o644).map_err(io)?;
    Ok(path)
}

/// The anchor of our head of this size; `None`: there is none.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read(log_dir: &Path, size: u64) -> Result<Option<PublicAnchor>, ShelfError> {
    let path = file(log_dir, size);
    let bytes = match given::read(&path, MAX_FILE as u64) {
        Ok(bytes) => bytes,
        Err(GivenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            let source = e.into();
            return Err(ShelfError::Io { path, source });
        }
    };
    let read = PublicAnchor::decode(&bytes).and_then(|a| {
        let same = a.checkpoint.head.head.size == size;
        let why = "it is of another size than its name says";
        same.then_some(a)
            .ok_or_else(|| AnchorError::malformed("an anchor in a public log", why))
    });
    match read {
        Ok(anchor) => Ok(Some(anchor)),
        Err(source) => Err(ShelfError::Damaged { path, source }),
    }
}

/// Sizes of our heads that have a file, ascending. Other files are passed over.
///
/// # Errors
/// When the directory cannot be read. One that is missing is empty.
pub fn sizes(log_dir: &Path) -> io::Result<Vec<u64>> {
    let files = given::pinned(&log_dir.join(DIR), EXTENSION)?;
    let size = |p: &PathBuf| decimal(p.file_stem().and_then(OsStr::to_str)?);
    let mut sizes: Vec<u64> = files.iter().filter_map(size).collect();
    sizes.sort_unstable();
    Ok(sizes)
}

/// All anchors, by our size, ascending. A file that is none is found as such and spoils no other.
///
/// # Errors
/// When the directory cannot be read. One that is missing is empty.
pub fn anchors(log_dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for size in sizes(log_dir)? {
        let anchor = match read(log_dir, size) {
            Ok(Some(anchor)) => Ok(anchor),
            // Removed meanwhile.
            Ok(None) => continue,
            Err(e) => Err(e),
        };
        found.push(Found { size, anchor });
    }
    Ok(found)
}

fn file(log_dir: &Path, size: u64) -> PathBuf {
    log_dir.join(DIR).join(format!("{size}.{EXTENSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::anchor::testing::Lab;

    #[test]
    fn anchors_are_read_back_and_garbage_among_them_is_said_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(anchors(dir.path()).unwrap().is_empty());
        let (small, large) = (Lab::new(9).anchor, Lab::new(100).anchor);
        let path = store(dir.path(), &large).unwrap();
        store(dir.path(), &small).unwrap();
        assert!(path.ends_with("rekor/100.tlog-proof"));
        assert_eq!(read(dir.path(), 9).unwrap(), Some(small.clone()));
        assert_eq!(read(dir.path(), 10).unwrap(), None);

        let rekor = dir.path().join(DIR);
        std::fs::write(rekor.join("50.tlog-proof"), b"garbage").unwrap();
        std::fs::copy(&path, rekor.join("60.tlog-proof")).unwrap();
        std::fs::create_dir(rekor.join("70.tlog-proof")).unwrap();
        std::fs::write(rekor.join("09.tlog-proof"), b"x").unwrap();
        std::fs::write(rekor.join("x.tlog-proof"), b"x").unwrap();
        std::fs::write(rekor.join(".tmp-80.tlog-proof"), b"x").unwrap();
        std::fs::write(rekor.join("80.cbor"), b"x").unwrap();
        let all = anchors(dir.path()).unwrap();
        let sizes: Vec<_> = all.iter().map(|f| f.size).collect();
        assert_eq!(sizes, [9, 50, 60, 70, 100]);
        let good: Vec<_> = all.iter().filter_map(|f| f.anchor.as_ref().ok()).collect();
        assert_eq!(good, [&small, &large]);
        for bad in all.iter().filter_map(|f| f.anchor.as_ref().err()) {
            assert!(!bad.to_string().contains('\n'), "{bad}");
        }
    }
}
