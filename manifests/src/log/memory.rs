//! The heads of logs that somebody has seen, one file for each origin: a log that shows an older or another history is found out. Not where heads
//! come from, and not who keeps them: watchers, witnesses and verifiers each have a directory of their own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::checkpoint::Checkpoint;
use super::note::{MAX_NOTE, Signed, VerifierKey};
use crate::digest::Sha256;
use crate::durable::{make_dir, write_durably};
use crate::given::{self, GivenError};
use crate::merkle::is_consistent;
use crate::statement::SetHead;

/// How often another process may remember something else while a head is judged.
const TRIES: usize = 16;

/// Why a memory of heads cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is remembered is damaged: without it a log could show another history.
    #[error(
        "{path:?}: {why}: restore it from a copy, or look at the log's history by other means before it is removed"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is not the log's.
    #[error("a checkpoint of {origin:?} is not signed by the key {key}")]
    Unsigned {
        /// As the checkpoint says.
        origin: String,
        /// The key that should have signed it.
        key: String,
    },
    /// Whether the log grew cannot be shown.
    #[error("no proof that {origin:?} grew from {old} to {new}: {why}")]
    NoProof {
        /// Which log.
        origin: String,
        /// Leaves that are remembered.
        old: u64,
        /// Leaves that are shown.
        new: u64,
        /// Why it is not there.
        why: String,
    },
    /// Others write without end.
    #[error("{path:?}: others remember new heads faster than one can be judged: try again")]
    Busy {
        /// Which file.
        path: PathBuf,
    },
}

/// What a head is beside the one that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Nothing was remembered of this log.
    First,
    /// The same head.
    Same,
    /// It extends what is remembered.
    Grown {
        /// What was remembered.
        from: SetHead,
    },
    /// It is smaller than what is remembered: an old copy, or a log that took something back.
    Rollback(Box<Both>),
    /// No log that only appends can have signed both.
    Split(Box<Both>),
}

/// Two heads that do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Both {
    /// What was seen before.
    pub remembered: Checkpoint,
    /// What is shown now.
    pub shown: Checkpoint,
}

/// Judges a head beside the one that is remembered; `None`: none is. Both are believed to be the log's own: whoever calls has checked that.
/// `proof` gives the proof of consistency between two sizes, and is asked only where one is needed.
///
/// # Errors
/// Those of `proof`. A proof that proves nothing is no error but a split: whoever cannot show that a log grew by appending has no such log.
pub fn judge<E>(
    remembered: Option<&Checkpoint>,
    shown: &Checkpoint,
    proof: impl FnOnce(&SetHead, &SetHead) -> Result<Vec<Sha256>, E>,
) -> Result<Judged, E> {
    let Some(remembered) = remembered else {
        return Ok(Judged::First);
    };
    let (old, new) = (&remembered.head.head, &shown.head.head);
    let both = || {
        Box::new(Both {
            remembered: remembered.clone(),
            shown: shown.clone(),
        })
    };
    if remembered.head.origin != shown.head.origin {
        return Ok(Judged::Split(both()));
    }
    if new.size < old.size {
        return Ok(Judged::Rollback(both()));
    }
    if new.size == old.size {
        return Ok(if new.root == old.root {
            Judged::Same
        } else {
            Judged::Split(both())
        });
    }
    let proof = if old.size == 0 {
        Vec::new()
    } else {
        proof(old, new)?
    };
    Ok(if is_consistent(old, new, &proof) {
        Judged::Grown { from: *old }
    } else {
        Judged::Split(both())
    })
}

/// A directory of remembered heads.
#[derive(Debug, Clone)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// Names the directory, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        make_dir(dir, 0o700).map_err(at(dir))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The head that is remembered of a log.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn load(&self, origin: &str) -> Result<Option<Checkpoint>, MemoryError> {
        let path = self.file(origin);
        let damaged = |why: String| MemoryError::Damaged {
            path: path.clone(),
            why,
        };
        let bytes = match given::read(&path, MAX_NOTE as u64) {
            Ok(bytes) => bytes,
            Err(GivenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(GivenError::Io(e)) => return Err(at(&path)(e)),
            Err(e) => return Err(damaged(e.to_string())),
        };
        let read = Checkpoint::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
        if read.head.origin == origin {
            Ok(Some(read))
        } else {
            Err(damaged("it is of another log".to_owned()))
        }
    }

    /// Remembers `new` in the place of exactly `old`; `false` when something else is remembered. Durable when it returns `true`. Refuses to
    /// go back.
    ///
    /// # Errors
    /// When it cannot be stored, or is older or other than `old`.
    pub fn swap(&self, old: Option<&Checkpoint>, new: &Checkpoint) -> Result<bool, MemoryError> {
        let origin = &new.head.origin;
        let path = self.file(origin);
        let (was, is) = (old.map(|o| &o.head), &new.head);
        let back = was.is_some_and(|was| {
            was.origin != is.origin
                || is.head.size < was.head.size
                || (is.head.size == was.head.size && is.head.root != was.head.root)
        });
        if back {
            let source = io::Error::other("a memory of heads never goes back");
            return Err(at(&path)(source));
        }
        let _lock = self.lock()?;
        if self.load(origin)?.as_ref() != old {
            return Ok(false);
        }
        write_durably(&path, &new.encode(), 0o600).map_err(at(&path))?;
        Ok(true)
    }

    /// Judges a head that the log with this key shows, and remembers it if it is the newest.
    ///
    /// # Errors
    /// When it is not signed by that key, what is remembered is not either, the memory fails, or `proof` does.
    pub fn observe(
        &self,
        shown: &Checkpoint,
        key: &VerifierKey,
        proof: impl Fn(&SetHead, &SetHead) -> Result<Vec<Sha256>, String>,
    ) -> Result<Judged, MemoryError> {
        let signed = |c: &Checkpoint| match c.signed_by_log(key) {
            Signed::Yes => Ok(()),
            Signed::No | Signed::Forged => Err(MemoryError::Unsigned {
                origin: c.head.origin.clone(),
                key: key.to_string(),
            }),
        };
        signed(shown)?;
        let origin = &shown.head.origin;
        for _ in 0..TRIES {
            let remembered = self.load(origin)?;
            remembered.as_ref().map_or(Ok(()), signed)?;
            let judged = judge(remembered.as_ref(), shown, |old, new| {
                proof(old, new).map_err(|why| MemoryError::NoProof {
                    origin: origin.clone(),
                    old: old.size,
                    new: new.size,
                    why,
                })
            })?;
            let newest = matches!(judged, Judged::First | Judged::Grown { .. });
            // The proof may have come over a network: what was remembered meanwhile is judged again.
            if !newest || self.swap(remembered.as_ref(), shown)? {
                return Ok(judged);
            }
        }
        Err(MemoryError::Busy {
            path: self.file(origin),
        })
    }

    /// Keeps two heads that do not fit, as they were signed, and says in which files. The same two are kept once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, both: &Both) -> Result<[PathBuf; 2], MemoryError> {
        let dir = self.dir.join("evidence");
        make_dir(&dir, 0o700).map_err(at(&dir))?;
        let (old, new) = (both.remembered.encode(), both.shown.encode());
        let origin = Sha256::of(both.shown.head.origin.as_bytes()).hex();
        let pair = Sha256::of(&[&old[..], &new].concat()).hex();
        let _lock = self.lock()?;
        let keep = |what: &str, bytes: &[u8]| {
            let name = format!("{}-{}-{what}.checkpoint", &origin[..16], &pair[..16]);
            let path = dir.join(name);
            write_durably(&path, bytes, 0o600).map_err(at(&path))?;
            Ok(path)
        };
        Ok([keep("remembered", &old)?, keep("shown", &new)?])
    }

    fn file(&self, origin: &str) -> PathBuf {
        let name = Sha256::of(origin.as_bytes()).hex();
        self.dir.join(format!("{name}.checkpoint"))
    }

    /// Held while something is compared and written; goes with the process.
    fn lock(&self) -> Result<File, MemoryError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(at(&path))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|e| at(&path)(e.into()))?;
        Ok(file)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MemoryError + '_ {
    move |source| MemoryError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
