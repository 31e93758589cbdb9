//! How a log begins again: the write-ahead log, the register and the tiles are brought to one head, or the log is refused. What was
//! acknowledged is in all of that head; what was not is finished, because somebody may have signed it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::append::{AppendError, LogWriter, Pending, Signer, Stage, unsigned};
use super::checkpoint::Checkpoint;
use super::grow::{Files, Tree};
use super::reader::{Directory, LogReader, Source as _};
use super::register::{Register, RegisterError};
use super::tile::Resource;
use super::wal::{Frame, Wal};
use crate::durable::make_dir;
use crate::evidence::LogHead;
use crate::statement::SetHead;

/// A segment of the write-ahead log that is longer ends: what a start reads again.
const SEGMENT: u64 = 4 << 20;

/// Why a log is not written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("{0} is written by another process; end that one first")]
    Busy(PathBuf),
    /// A file or directory cannot be used.
    #[error("{path}: {why}")]
    Disk {
        /// Which.
        path: PathBuf,
        /// The system's own error.
        why: io::Error,
    },
    /// The register does not answer: nothing can be signed without it.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The register has more than the disk.
    #[error(
        "the disk is older than the register: {register} has {held} leaves, the log {have}; was it restored from a copy? put the newest copy back, for nothing may be signed that forgets what was"
    )]
    Behind {
        /// Which register.
        register: String,
        /// Its size.
        held: u64,
        /// The size on the disk.
        have: u64,
    },
    /// The disk has more than the register, and it was published.
    #[error(
        "the register is older than the log: {register} has {held} leaves, the log {have}; was the register restored from a copy? restore its newest value, which the log's `checkpoint` repeats"
    )]
    RegisterBehind {
        /// Which register.
        register: String,
        /// Its size; 0 also when it holds nothing.
        held: u64,
        /// The size on the disk.
        have: u64,
    },
    /// Register and disk are of different histories.
    #[error(
        "the log forked: {register} holds the head {held:?}, and the disk has {have:?} at that size; keep both, and find out who signed which"
    )]
    Forked {
        /// Which register.
        register: String,
        /// The register's head.
        held: SetHead,
        /// The disk's.
        have: SetHead,
    },
    /// The register is of another log, or holds no checkpoint.
    #[error("{register} does not hold a checkpoint of the log {origin}: {why}")]
    Foreign {
        /// Which register.
        register: String,
        /// The log's origin.
        origin: String,
        /// What it holds.
        why: String,
    },
    /// What is on the disk contradicts itself.
    #[error("the log at {path} is damaged: {why}; restore the newest copy of it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A batch that was durable before could not be finished.
    #[error(transparent)]
    Unfinished(#[from] AppendError),
}

impl LogWriter {
    /// Opens a log for writing; makes it when neither disk nor register knows of it. All of `signers` sign each checkpoint.
    ///
    /// # Errors
    /// When it cannot be shown that what is signed next extends all that was signed before.
    pub fn open(
        dir: &Path,
        register: Box<dyn Register>,
        origin: &str,
        signers: Vec<Box<dyn Signer>>,
    ) -> Result<Self, OpenError> {
        unsigned(origin, Tree::default().head()).map_err(|e| OpenError::Foreign {
            register: register.name(),
            origin: origin.to_owned(),
            why: e.to_string(),
        })?;
        let wal_dir = dir.join("wal");
        make_dir(&wal_dir, 0o755).map_err(at(&wal_dir))?;
        let lock_path = wal_dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match rustix::fs::flock(&lock, exclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Busy(dir.to_owned())),
            other => other.map_err(|e| at(&lock_path)(e.into()))?,
        }
        let held = Held::load(register.as_ref(), origin)?;
        let published = published(dir)?;
        let files = Files::new(dir);
        let Replayed { wal, tree, before } = match replay(&wal_dir, &files)? {
            Some(replayed) => replayed,
            None => fresh(dir, &wal_dir, register.as_ref(), &held, published.as_ref())?,
        };
        let mut log = Self {
            dir: dir.to_owned(),
            origin: origin.to_owned(),
            register,
            signers,
            files,
            wal,
            tree,
            held: held.bytes,
            published,
            pending: None,
            closed: None,
            segment: SEGMENT,
            unsynced: false,
            #[cfg(test)]
            stop: super::stop::Stop::default(),
            _lock: lock,
        };
        log.agree(held.head, before)?;
        Ok(log)
    }

    /// Brings register, tiles and published checkpoint to the head of the write-ahead log.
    fn agree(&mut self, held: Option<SetHead>, before: Option<Before>) -> Result<(), OpenError> {
        let name = self.register.name();
        let head = self.tree.head();
        let mut made = Vec::new();
        self.tree.partial(None, &mut made);
        for (file, bytes) in &made {
            let restored = self.files.restore(file, bytes);
            restored.map_err(at(&self.dir.join(file.path())))?;
        }
        let published = self.published.as_ref().map(|c| c.head.head);
        let known = held.map_or(0, |h| h.size);
        if published.is_some_and(|p| p.size > known) {
            return Err(OpenError::RegisterBehind {
                register: name,
                held: known,
                have: published.map_or(0, |p| p.size),
            });
        }
        if let Some(held) = held {
            if held.size > head.size {
                return Err(OpenError::Behind {
                    register: name,
                    held: held.size,
                    have: head.size,
                });
            }
            let have = self.head_at(held.size, before.as_ref())?;
            if have != held {
                return Err(OpenError::Forked {
                    register: name,
                    held,
                    have,
                });
            }
        }
        if known < head.size {
            let Some(before) = before.filter(|b| b.tree.size() == known) else {
                return Err(OpenError::RegisterBehind {
                    register: name,
                    held: known,
                    have: head.size,
                });
            };
            self.show()?;
            let tree = std::mem::replace(&mut self.tree, before.tree);
            self.pending = Some(Pending {
                first: known,
                tree,
                files: Vec::new(),
                stage: Stage::Durable,
            });
            self.resume()?;
            return Ok(());
        }
        self.show()
    }

    /// Has the register's checkpoint published, unless that head is: it may have more signatures there.
    fn show(&mut self) -> Result<(), OpenError> {
        let held = self.held.as_deref();
        let Some(held) = held.and_then(|h| Checkpoint::parse(h).ok()) else {
            return Ok(());
        };
        let same = |p: &Checkpoint| p.note.text == held.note.text;
        if !self.published.as_ref().is_some_and(same) {
            let path = self.dir.join(Resource::Checkpoint.path());
            self.publish(&held).map_err(at(&path))?;
            self.published = Some(held);
        }
        Ok(())
    }

    /// The head that the disk had at a size.
    fn head_at(&self, size: u64, before: Option<&Before>) -> Result<SetHead, OpenError> {
        let head = self.tree.head();
        if size == head.size {
            return Ok(head);
        }
        if let Some(before) = before.filter(|b| b.tree.size() == size) {
            return Ok(before.tree.head());
        }
        let damaged = |why: String| OpenError::Damaged {
            path: self.dir.clone(),
            why,
        };
        let whole = unsigned(&self.origin, head).map_err(|e| damaged(e.to_string()))?;
        let root = LogReader::at(Directory::new(&self.dir), whole).and_then(|r| r.root(size));
        let root = root.map_err(|e| damaged(e.to_string()))?;
        Ok(SetHead { size, root })
    }
}

/// What the register holds.
struct Held {
    bytes: Option<Vec<u8>>,
    head: Option<SetHead>,
}

impl Held {
    fn load(register: &dyn Register, origin: &str) -> Result<Self, OpenError> {
        let Some(bytes) = register.load()? else {
            return Ok(Self {
                bytes: None,
                head: None,
            });
        };
        let foreign = |why: String| OpenError::Foreign {
            register: register.name(),
            origin: origin.to_owned(),
            why,
        };
        let found = Checkpoint::parse(&bytes).map_err(|e| foreign(e.to_string()))?;
        let LogHead {
            origin: whose,
            head,
        } = found.head;
        if whose != origin {
            return Err(foreign(format!("it is of {whose:?}")));
        }
        Ok(Self {
            bytes: Some(bytes),
            head: Some(head),
        })
    }
}

/// The tree before the last batch.
struct Before {
    tree: Tree,
}

struct Replayed {
    wal: Wal,
    tree: Tree,
    before: Option<Before>,
}

/// Reads the newest segment, and writes again each file that it makes: none of them need have come to the disk.
fn replay(wal_dir: &Path, files: &Files) -> Result<Option<Replayed>, OpenError> {
    let Some((mut wal, mut tree)) = Wal::open(wal_dir).map_err(at(wal_dir))? else {
        return Ok(None);
    };
    let damaged = |why: &str| OpenError::Damaged {
        path: wal_dir.to_owned(),
        why: why.to_owned(),
    };
    let mut before = None;
    // Behind by one: the tree before the last batch is wanted, and none but the last knows that it is.
    let mut last: Option<Frame> = None;
    let apply = |tree: &mut Tree, frame: &Frame| {
        if frame.first != tree.size() {
            return Err(damaged("a batch of the write-ahead log is missing"));
        }
        let mut made = Vec::new();
        tree.grow(&frame.leaves, &mut made)
            .map_err(|e| damaged(e.0))?;
        made.iter().try_for_each(|(name, bytes)| {
            let restored = files.restore(name, bytes);
            restored.map_err(at(Path::new(&name.path())))
        })
    };
    wal.replay(|frame| match last.replace(frame) {
        Some(frame) => apply(&mut tree, &frame).map_err(Stopped::Open),
        None => Ok(()),
    })
    .map_err(|e| match e {
        Stopped::Open(e) => e,
        Stopped::Io(e) => at(wal_dir)(e),
    })?;
    if let Some(frame) = last {
        // The published checkpoint may be of this tree, until the last batch is finished.
        let mut made = Vec::new();
        tree.partial(None, &mut made);
        for (name, bytes) in &made {
            let restored = files.restore(name, bytes);
            restored.map_err(at(Path::new(&name.path())))?;
        }
        before = Some(Before { tree: tree.clone() });
        apply(&mut tree, &frame)?;
        if tree.head().root != frame.root || tree.size() != frame.end() {
            return Err(damaged("its last batch leads to another root than it says"));
        }
    }
    Ok(Some(Replayed { wal, tree, before }))
}

enum Stopped {
    Open(OpenError),
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A log that has no write-ahead log: nothing else may know of it.
fn fresh(
    dir: &Path,
    wal_dir: &Path,
    register: &dyn Register,
    held: &Held,
    published: Option<&Checkpoint>,
) -> Result<Replayed, OpenError> {
    if let Some(head) = held.head {
        return Err(OpenError::Behind {
            register: register.name(),
            held: head.size,
            have: 0,
        });
    }
    if published.is_some() || dir.join("tile").exists() {
        return Err(OpenError::Damaged {
            path: wal_dir.to_owned(),
            why: "the write-ahead log is missing, and leaves are there".to_owned(),
        });
    }
    let tree = Tree::default();
    let wal = Wal::begin(wal_dir, &tree).map_err(at(wal_dir))?;
    Ok(Replayed {
        wal,
        tree,
        before: None,
    })
}

/// The checkpoint that is published. One that is none was cut short by a loss of power, and the register has it.
fn published(dir: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let path = dir.join(Resource::Checkpoint.path());
    let found = Directory::new(dir).get(&Resource::Checkpoint);
    let bytes = found.map_err(|e| at(&path)(io::Error::other(e.why)))?;
    Ok(bytes.and_then(|b| Checkpoint::parse(&b).ok()))
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |why| OpenError::Disk {
        path: path.clone(),
        why,
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
