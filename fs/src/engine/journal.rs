//! What a life of the daemon must not take with it: uses and ended versions, one JSON record a line. Not the index, and never evidence.
//!
//! Each line begins with the first half of its record's BLAKE3: a record that a disk or a hand has changed is none.
//! A record is in the file before close(2) returns to the job. It survives the daemon, not the machine: the page cache holds it.
//! A torn last line is a record that nobody was promised.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::{InstanceId, VersionId};
use atlas_manifests::rows::{RunRow, VersionRow};
use serde::{Deserialize, Serialize};

use crate::ledger::{Place, RawUse};

/// One line.
#[allow(
    clippy::large_enum_variant,
    reason = "made, written and dropped one at a time"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A use was entered.
    Used(RawUse),
    /// A version ended; its run as it was then, with those of its processes of which no earlier record tells.
    Ended {
        /// The version.
        row: VersionRow,
        /// Its run.
        run: Option<RunRow>,
    },
    /// A settled content has another name, or is identified differently.
    Moved(Place),
    /// A version that was said to have ended turned out to be none.
    Withdrawn {
        /// The version.
        version: VersionId,
    },
    /// A version is sealed: nothing is left to do but to know it.
    Settled {
        /// The version.
        version: VersionId,
        /// Its manifest, which is in the store.
        manifest: Sha256,
    },
}

/// The journal of this life.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    pending: Vec<u8>,
}

impl Journal {
    /// Begins the journal of an instance in the node's journal directory.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn begin(dir: &Path, instance: InstanceId) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{instance}.jsonl"));
        // It names paths and arguments: nobody else reads it, whatever the umask.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            inner: Mutex::new(Inner {
                file,
                pending: Vec::new(),
            }),
        })
    }

    /// Queues a record: memory only, so that it may be called with the ledger locked.
    pub(crate) fn push(&self, record: &Record) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(text) = serde_json::to_vec(record) else {
            return;
        };
        inner.pending.extend_from_slice(&check(&text));
        inner.pending.push(b' ');
        inner.pending.extend_from_slice(&text);
        inner.pending.push(b'\n');
    }

    /// Writes what is queued, in one call. A record that cannot be written stays queued.
    ///
    /// # Errors
    /// When the write fails, for example because the disk is full.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.pending.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut inner.pending);
        match inner.file.write_all(&bytes) {
            Ok(()) => Ok(()),
            Err(e) => {
                // Some of it may be there: what is written again must not continue a torn line.
                inner.pending.push(b'\n');
                inner.pending.extend(bytes);
                Err(e)
            }
        }
    }

    /// Removes the journal: everything in it is settled and in the index.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn finish(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// The records of journals that earlier lives left behind, with the files that held them, oldest first.
///
/// # Errors
/// When the directory cannot be read. Lines that cannot be parsed are skipped, counted and said.
pub(crate) fn left_behind(dir: &Path, own: InstanceId) -> io::Result<(Vec<Record>, Vec<PathBuf>)> {
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let path = entry?.path();
        let ours = path
            .file_stem()
            .is_some_and(|s| s.as_encoded_bytes() == own.to_string().as_bytes());
        if path.extension().is_some_and(|e| e == "jsonl") && !ours {
            files.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    files.sort();
    let mut records = Vec::new();
    let mut bad = 0u64;
    for (_, path) in &files {
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            let line = line?;
            match parse(&line) {
                Some(record) => records.push(record),
                None => bad += u64::from(!line.is_empty()),
            }
        }
    }
    if bad > 0 {
        tracing::warn!(
            lines = bad,
            "journal lines of an earlier life are torn or damaged: what they told is lost, atlasctl register what is unattested"
        );
    }
    Ok((records, files.into_iter().map(|(_, p)| p).collect()))
}

/// What a line begins with.
fn check(text: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let hash = blake3::hash(text);
    out.copy_from_slice(&hash.to_hex().as_bytes()[..32]);
    out
}

fn parse(line: &[u8]) -> Option<Record> {
    let (said, text) = line.split_at_checked(33)?;
    let whole = said[32] == b' ' && said[..32] == check(text);
    serde_json::from_slice(text).ok().filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::id::NodeId;

    #[test]
    fn a_torn_last_line_loses_nothing_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (InstanceId([1; 16]), InstanceId([2; 16]));
        let journal = Journal::begin(dir.path(), a).unwrap();
        let version = VersionId {
            node: NodeId([3; 16]),
            n: 7,
        };
        let settled = Record::Settled {
            version,
            manifest: Sha256([4; 32]),
        };
        journal.push(&settled);
        journal.push(&settled);
        journal.flush().unwrap();
        let mut bytes = fs::read(&journal.path).unwrap();
        bytes.truncate(bytes.len() - 5);
        fs::write(&journal.path, &bytes).unwrap();
        let (records, files) = left_behind(dir.path(), b).unwrap();
        assert_eq!(records, [settled]);
        assert_eq!(files.len(), 1);
        assert!(
            left_behind(dir.path(), a).unwrap().0.is_empty(),
            "our own journal is not left behind"
        );
    }

    #[test]
    fn a_changed_line_is_not_believed_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::begin(dir.path(), InstanceId([1; 16])).unwrap();
        let record = |n| Record::Withdrawn {
            version: VersionId {
                node: NodeId([3; 16]),
                n,
            },
        };
        for n in [71, 72, 73] {
            journal.push(&record(n));
        }
        journal.flush().unwrap();
        let whole = fs::read(&journal.path).unwrap();
        let start = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        let end = start + whole[start..].iter().position(|b| *b == b'\n').unwrap();
        for at in start..end {
            for bit in [1, 4] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                fs::write(&journal.path, &bytes).unwrap();
                let (records, _) = left_behind(dir.path(), InstanceId([2; 16])).unwrap();
                assert_eq!(records, [record(71), record(73)], "byte {at}");
            }
        }
    }
}
