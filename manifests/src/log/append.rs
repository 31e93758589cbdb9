//! The one writer of a log: batches in, signed checkpoints out, nothing acknowledged that a crash could take back. Not how it begins again
//! after one: see `recovery`.
//!
//! Of a batch, in this order: it is durable in the write-ahead log; its checkpoint is signed; the register takes that in the place of the
//! one before; tiles are written; the checkpoint is published. Until the register took it nobody outside has seen it, and whatever fails
//! from the signature on is tried again with the same leaves: two heads of one size are never signed.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::checkpoint::Checkpoint;
use super::find;
use super::grow::{Files, Made, Tree};
use super::leaf::MAX_LEAF;
use super::note::{MAX_NOTE, MAX_SIGNATURES, NoteError, Signature};
use super::register::{MAX_VALUE, Register, RegisterError, Swapped};
use super::tile::Resource;
use super::wal::{MAX_BODY, NotBegun, Wal};
use crate::evidence::LogHead;
use crate::statement::SetHead;

/// A key that signs checkpoints.
pub trait Signer: Send + Sync {
    /// The lines for a checkpoint's text. A key that cannot sign now says why: the log waits for it.
    ///
    /// # Errors
    /// Why there is no signature, in words.
    fn sign(&self, text: &str) -> Result<Vec<Signature>, String>;
}

impl<F: Fn(&str) -> Vec<Signature> + Send + Sync> Signer for F {
    fn sign(&self, text: &str) -> Result<Vec<Signature>, String> {
        Ok(self(text))
    }
}

/// Leaves that are in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Index of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// The published checkpoint that has them all.
    pub checkpoint: Checkpoint,
}

/// Why leaves are not known to be in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// They cannot be: nothing was done.
    #[error("not logged: {0}")]
    Refused(&'static str),
    /// They could not be made durable: nothing was done, and it may be tried again.
    #[error(
        "not logged, and nothing changed: {what}: {why}; make room or mend the disk, then try again"
    )]
    Disk {
        /// Which step.
        what: &'static str,
        /// The system's own error.
        why: io::Error,
    },
    /// They are durable and will be the next in the log: `resume` goes on, and leaves must not be given again.
    #[error("not logged yet: {0}; it is tried again")]
    Pending(#[source] PendingError),
    /// Somebody else wrote this log. This writer signs nothing any more.
    #[error(
        "{register} holds another checkpoint than this log's: another writer took it; end one of the two, and find out which was first"
    )]
    Lost {
        /// Which register.
        register: String,
    },
    /// After an error of the disk or a lost register.
    #[error(
        "this log is closed after an error: {0}; start again, so that it is read anew from the disk"
    )]
    Closed(String),
}

/// What keeps a batch that is durable from being logged.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    /// A key did not sign.
    #[error("the checkpoint is not signed: {0}")]
    Sign(String),
    /// Whether the register has it is not known, or it has it not.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The register has it, and tiles or checkpoint could not be written.
    #[error("{what}: {why}")]
    Disk {
        /// Which file.
        what: String,
        /// The system's own error.
        why: io::Error,
    },
}

/// A batch on its way.
pub(super) struct Pending {
    pub(super) first: u64,
    pub(super) tree: Tree,
    pub(super) files: Vec<Made>,
    pub(super) stage: Stage,
}

/// What was done of it last.
pub(super) enum Stage {
    Durable,
    Signed(Checkpoint),
    Registered(Checkpoint),
}

/// The writer of a log. There is one at a time.
pub struct LogWriter {
    pub(super) dir: PathBuf,
    pub(super) origin: String,
    pub(super) register: Box<dyn Register>,
    pub(super) signers: Vec<Box<dyn Signer>>,
    pub(super) files: Files,
    pub(super) wal: Wal,
    pub(super) tree: Tree,
    /// What the register holds.
    pub(super) held: Option<Vec<u8>>,
    pub(super) published: Option<Checkpoint>,
    pub(super) pending: Option<Pending>,
    pub(super) closed: Option<String>,
    /// A segment that is longer, in bytes, ends.
    pub(super) segment: u64,
    /// Tiles that could not be made durable: the segment stays, and the next start writes them again from it.
    pub(super) unsynced: bool,
    #[cfg(test)]
    pub(super) stop: super::stop::Stop,
    pub(super) _lock: File,
}

/// Where a test stops the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Durable,
    Sign,
    Swap,
    Swapped,
    File,
    Publish,
    Published,
    Sync,
    Segment,
}

impl LogWriter {
    /// The head that is published; `None` before the first leaf.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.published.as_ref()
    }

    /// Number of leaves that are logged.
    pub fn size(&self) -> u64 {
        self.published.as_ref().map_or(0, |c| c.head.head.size)
    }

    /// Whether a batch is durable and not logged yet.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Where the log lies.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Logs a batch: when this returns, it is durable, and the published checkpoint has it. A batch that is pending goes first.
    ///
    /// # Errors
    /// See `AppendError`: after `Pending` the leaves will be logged, after any other they are not.
    pub fn append(&mut self, leaves: &[Vec<u8>]) -> Result<Appended, AppendError> {
        self.resume()?;
        if leaves.is_empty() {
            return Err(AppendError::Refused("there is nothing to log"));
        }
        if leaves.iter().any(|leaf| leaf.len() > MAX_LEAF) {
            return Err(AppendError::Refused("a leaf is too long"));
        }
        if leaves.iter().map(|leaf| leaf.len() + 2).sum::<usize>() > MAX_BODY - 64 {
            return Err(AppendError::Refused(
                "a batch is too large: give it in parts",
            ));
        }
        let (first, mut tree, mut files) = (self.tree.size(), self.tree.clone(), Vec::new());
        tree.grow(leaves, &mut files)
            .map_err(|e| AppendError::Refused(e.0))?;
        tree.partial(Some(&self.tree), &mut files);
        let frame = self.wal.encode(first, &tree.head().root, leaves);
        let written = self.step(Step::Durable);
        if let Err(why) = written.and_then(|()| self.wal.append(&frame)) {
            // What a failed write left must not be taken for a batch later on.
            if let Err(e) = self.wal.cut() {
                self.closed = Some(format!("the write-ahead log: {e}"));
            }
            let what = "the write-ahead log";
            return Err(AppendError::Disk { what, why });
        }
        self.pending = Some(Pending {
            first,
            tree,
            files,
            stage: Stage::Durable,
        });
        let appended = self.resume()?;
        appended.ok_or(AppendError::Refused("there is nothing to log"))
    }

    /// Goes on with a batch that is pending; tells what came into the log by it.
    ///
    /// # Errors
    /// `Pending` when it still is, `Lost` and `Closed` for ever.
    pub fn resume(&mut self) -> Result<Option<Appended>, AppendError> {
        if let Some(why) = &self.closed {
            return Err(AppendError::Closed(why.clone()));
        }
        let Some(mut pending) = self.pending.take() else {
            return Ok(None);
        };
        let done = self.advance(&mut pending);
        if let Err(error) = done {
            self.pending = Some(pending);
            return Err(error);
        }
        let before = self.tree.size();
        self.tree = pending.tree;
        self.settle_if_long();
        find::refresh_after(&self.dir, before, self.tree.size());
        let checkpoint = self.published.clone();
        Ok(checkpoint.map(|checkpoint| Appended {
            first: pending.first,
            count: self.tree.size() - pending.first,
            checkpoint,
        }))
    }

    fn advance(&mut self, pending: &mut Pending) -> Result<(), AppendError> {
        if matches!(pending.stage, Stage::Durable) {
            let signed = self.signed(pending.tree.head());
            let signed = signed.map_err(|e| AppendError::Pending(PendingError::Sign(e)))?;
            pending.stage = Stage::Signed(signed);
        }
        if let Stage::Signed(checkpoint) = &pending.stage {
            let held = self.register(checkpoint.encode(), &checkpoint.note.text)?;
            let now = Checkpoint::parse(&held).unwrap_or_else(|_| checkpoint.clone());
            self.held = Some(held);
            pending.stage = Stage::Registered(now);
        }
        if let Stage::Registered(checkpoint) = &pending.stage {
            self.write(&pending.files, checkpoint)
                .map_err(|(what, why)| AppendError::Pending(PendingError::Disk { what, why }))?;
            self.published = Some(checkpoint.clone());
        }
        Ok(())
    }

    fn signed(&mut self, head: SetHead) -> Result<Checkpoint, String> {
        self.step(Step::Sign).map_err(|e| e.to_string())?;
        let origin = self.origin.clone();
        let made = Checkpoint::of(LogHead { origin, head });
        let mut made = made.map_err(|e| e.to_string())?;
        for signer in &self.signers {
            for line in signer.sign(&made.note.text)? {
                made.note.add(line);
            }
        }
        let bytes = made.encode();
        // What cannot be read back must not come into the register.
        match Checkpoint::parse(&bytes) {
            Ok(read) if read == made && bytes.len() <= MAX_VALUE => Ok(made),
            _ => Err("no key signs, or their lines are not as they should be".to_owned()),
        }
    }

    /// Has the register take a checkpoint; tells what it holds then, which may have other signatures under the same text.
    fn register(&mut self, new: Vec<u8>, text: &str) -> Result<Vec<u8>, AppendError> {
        let old = self.held.clone();
        let unknown = |e| AppendError::Pending(PendingError::Register(e));
        let stopped = |e: io::Error, name| RegisterError::Unreachable {
            name,
            why: e.to_string(),
        };
        let name = self.register.name();
        self.step(Step::Swap)
            .map_err(|e| unknown(stopped(e, name.clone())))?;
        let asked = self.register.swap(old.as_deref(), &new);
        self.step(Step::Swapped)
            .map_err(|e| unknown(stopped(e, name.clone())))?;
        let failed = match asked {
            Ok(Swapped::Done) => return Ok(new),
            Ok(Swapped::Lost) => None,
            Err(e) => Some(e),
        };
        // An earlier try of ours may have arrived late, or this one in spite of what was answered.
        let now = self.register.load().map_err(unknown)?;
        if let Some(now) = now.as_deref().filter(|now| says(now, text)) {
            return Ok(now.to_vec());
        }
        match failed {
            Some(e) if now == old => Err(unknown(e)),
            _ => {
                self.closed = Some(format!("{name} holds another checkpoint"));
                Err(AppendError::Lost { register: name })
            }
        }
    }

    fn write(
        &mut self,
        files: &[Made],
        checkpoint: &Checkpoint,
    ) -> Result<(), (String, io::Error)> {
        for (name, bytes) in files {
            let put = self.step(Step::File);
            put.and_then(|()| self.files.put(name, bytes))
                .map_err(|e| (name.path(), e))?;
        }
        self.publish(checkpoint)
            .map_err(|e| (Resource::Checkpoint.path(), e))
    }

    pub(super) fn publish(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.step(Step::Publish)?;
        self.files
            .put(&Resource::Checkpoint, &checkpoint.encode())?;
        self.step(Step::Published)
    }

    /// Publishes the same head with more signatures: those of witnesses. Lines that are published stay. Tells what is published now.
    ///
    /// # Errors
    /// When another head is published by now (`Refused`), or it cannot be written (`Disk`).
    pub fn replace_checkpoint(
        &mut self,
        cosigned: &Checkpoint,
    ) -> Result<&Checkpoint, AppendError> {
        if let Some(why) = &self.closed {
            return Err(AppendError::Closed(why.clone()));
        }
        let published = self.published.as_ref();
        let same = published.filter(|p| p.note.text == cosigned.note.text);
        let Some(mut merged) = same.cloned() else {
            return Err(AppendError::Refused(
                "another checkpoint is published by now",
            ));
        };
        for line in &cosigned.note.signatures {
            merged.note.add(line.clone());
        }
        let fits = merged.note.signatures.len() <= MAX_SIGNATURES;
        if !fits || merged.encode().len() > MAX_NOTE {
            return Err(AppendError::Refused("a checkpoint has too many signatures"));
        }
        let what = "the checkpoint";
        self.publish(&merged)
            .map_err(|why| AppendError::Disk { what, why })?;
        Ok(self.published.insert(merged))
    }

    /// Makes all tiles durable, so that the next start has nothing to do again. Done by itself every few megabytes.
    ///
    /// # Errors
    /// `Disk`: the log is whole nevertheless, and the next start takes longer. `Pending`: a batch is on its way.
    pub fn settle(&mut self) -> Result<(), AppendError> {
        self.resume()?;
        let (from, to) = (self.wal.start(), self.tree.size());
        if from == to {
            return Ok(());
        }
        if self.unsynced {
            let why = io::Error::other("tiles could not be made durable before");
            return Err(AppendError::Disk {
                what: "the tiles",
                why,
            });
        }
        let synced = self.step(Step::Sync);
        synced
            .and_then(|()| self.files.sync(from, to))
            .map_err(|why| {
                // The kernel reports a lost write once: the next answer would be that all is well.
                self.unsynced = true;
                AppendError::Disk {
                    what: "the tiles",
                    why,
                }
            })?;
        let next = self
            .step(Step::Segment)
            .map_err(NotBegun::from)
            .and_then(|()| self.wal.next(&self.tree));
        self.wal = next.map_err(|NotBegun { why, may_be_there }| {
            // Else the old segment stays the one that is written, as when the disk is full, and the next batch tries again.
            if may_be_there {
                self.closed = Some(format!("a new segment of the write-ahead log: {why}"));
            }
            AppendError::Disk {
                what: "a new segment of the write-ahead log",
                why,
            }
        })?;
        Ok(())
    }

    fn settle_if_long(&mut self) {
        if self.wal.length() <= self.segment || self.unsynced {
            return;
        }
        // The batch is logged whether this succeeds or not.
        if let Err(e) = self.settle() {
            tracing::warn!("{}: {e}", self.dir.display());
        }
    }

    #[cfg(test)]
    fn step(&mut self, step: Step) -> io::Result<()> {
        self.stop.at(step)
    }

    #[cfg(not(test))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "tests stop here"
    )]
    fn step(&mut self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a register's value is a checkpoint with this text.
fn says(value: &[u8], text: &str) -> bool {
    Checkpoint::parse(value).is_ok_and(|c| c.note.text == text)
}

/// A checkpoint that nobody signed, for reading a tree.
pub(super) fn unsigned(origin: &str, head: SetHead) -> Result<Checkpoint, NoteError> {
    Checkpoint::of(LogHead {
        origin: origin.to_owned(),
        head,
    })
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
