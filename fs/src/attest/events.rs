//! The event log of one boot, which all daemons of the machine share, kept in step with RTMR3. What an event means is not looked at here.
//!
//! RTMR3 and a file cannot be changed in one step. Under the lock: what the register has beside the log is recorded as foreign; the
//! write-ahead file says which extension is coming; the register is extended and read back; the entry is appended; the write-ahead file
//! goes. Whoever takes the lock next finishes what a dead daemon left there (as CoCo's attestation agent does for its own log).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::{Entry, Event, EventHead, EventLog, Rtmr};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::logfile::{Found, LogFile};
use super::machine::Machine;
use super::steps::Steps;
use super::wal::Wal;

/// Where it lies: on a tmpfs, so that it goes with the register at a reset.
pub const DEFAULT_DIR: &str = "/run/atlas/tdx";
/// Another daemon may hold the log while it waits for a quote.
const LOCK_WAIT: Duration = Duration::from_secs(180);

/// Who waits looks again so often: seldom enough to cost nothing, often enough to get its turn between two who are busy.
const LOCK_PAUSE: Duration = Duration::from_millis(4);

/// Why the event log failed.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A file of it failed.
    #[error("event log {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The register could not be read.
    #[error("RTMR3 cannot be read: {0}")]
    Register(io::Error),
    /// The register was not extended.
    #[error("RTMR3 was not extended: {0}")]
    Extend(io::Error),
    /// Somebody holds the lock.
    #[error("event log {}: another process holds it for more than {} s", .0.display(), LOCK_WAIT.as_secs())]
    Busy(PathBuf),
}

/// The log, for one daemon.
pub struct EventFile {
    dir: PathBuf,
    machine: Arc<dyn Machine>,
    /// Names the boot that the log is about.
    boot: Sha256,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// As far as this daemon has read it.
    log: Option<LogFile>,
    steps: Steps,
}

impl EventFile {
    /// Opens the log, or begins it; `None` where the kernel shows no RTMR3.
    ///
    /// # Errors
    /// When the directory is not ours alone, or the register or the files fail.
    pub fn open(dir: &Path, machine: Arc<dyn Machine>) -> Result<Option<Self>, EventError> {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").map_err(|source| {
            let path = dir.to_owned();
            EventError::Io { path, source }
        })?;
        Self::open_in(dir, machine, Sha256::of(boot.trim_ascii()))
    }

    pub(super) fn open_in(
        dir: &Path,
        machine: Arc<dyn Machine>,
        boot: Sha256,
    ) -> Result<Option<Self>, EventError> {
        if machine.rtmr3().map_err(EventError::Register)?.is_none() {
            return Ok(None);
        }
        let file = Self {
            dir: dir.to_owned(),
            machine,
            boot,
            state: Mutex::default(),
        };
        file.head()?;
        Ok(Some(file))
    }

    /// Extends RTMR3 by an event and appends it.
    ///
    /// # Errors
    /// When it is not known to be done. It may be found done when the log is next looked at.
    pub fn append(&self, event: &Event) -> Result<EventHead, EventError> {
        self.locked(|log| log.append(event))
    }

    /// The entries from a number on.
    ///
    /// # Errors
    /// When there are not so many, or the files fail.
    pub fn since(&self, from: u64) -> Result<EventLog, EventError> {
        self.locked(|log| log.since(from))
    }

    /// Where log and register stand.
    ///
    /// # Errors
    /// When the register or the files fail.
    pub fn head(&self) -> Result<EventHead, EventError> {
        self.locked(|log| Ok(log.head()))
    }

    /// Runs something while no other Atlas daemon extends RTMR3. What a dead one left is finished before.
    ///
    /// # Errors
    /// When the lock is not to be had, or log or register fail; and what `work` returns.
    pub fn locked<T, E: From<EventError>>(
        &self,
        work: impl FnOnce(&mut Locked<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let _held = self.hold()?;
        let kept = state.log.take().filter(LogFile::stands);
        let mut locked = Locked {
            file: self,
            log: self.read(kept)?,
            steps: &mut state.steps,
        };
        locked.settle()?;
        let result = work(&mut locked);
        state.log = Some(locked.log);
        result
    }

    /// The lock, until it is dropped.
    fn hold(&self) -> Result<File, EventError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            make_dir(&self.dir).map_err(|e| self.failed(e))?;
            let dir = File::open(&self.dir).map_err(|e| self.failed(e))?;
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Somebody may have removed it and made another, which others lock.
                    let same =
                        |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
                    let held = dir.metadata().map_err(|e| self.failed(e))?;
                    if fs::metadata(&self.dir).is_ok_and(|named| same(held, named)) {
                        return Ok(dir);
                    }
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(e) => return Err(self.failed(e.into())),
            }
            if start.elapsed() > LOCK_WAIT {
                return Err(EventError::Busy(self.dir.clone()));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOCK_PAUSE);
        }
    }

    /// The log as it is now.
    fn read(&self, kept: Option<LogFile>) -> Result<LogFile, EventError> {
        let read = || {
            if let Some(mut log) = kept
                && log.read_on()?
            {
                return Ok(Found::Log(log));
            }
            LogFile::open(&self.dir, &self.boot)
        };
        match read().map_err(|e| self.failed(e))? {
            Found::Log(log) => Ok(log),
            Found::Nothing => self.begin(),
            Found::Other(why) => {
                tracing::warn!(dir = %self.dir.display(), "the event log that lies there is not gone on with ({why}): a new one begins");
                self.begin()
            }
        }
    }

    /// A new log, from what the register is now.
    fn begin(&self) -> Result<LogFile, EventError> {
        let base = self.register()?;
        // It is about the log before.
        Wal::remove(&self.dir)
            .and_then(|()| LogFile::create(&self.dir, &self.boot, base))
            .map_err(|e| self.failed(e))
    }

    fn register(&self) -> Result<Rtmr, EventError> {
        self.machine
            .rtmr3()
            .and_then(|r| r.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(EventError::Register)
    }

    fn failed(&self, source: io::Error) -> EventError {
        let path = self.dir.clone();
        EventError::Io { path, source }
    }
}

/// The log while its lock is held.
pub struct Locked<'a> {
    file: &'a EventFile,
    log: LogFile,
    steps: &'a mut Steps,
}

impl Locked<'_> {
    /// Where log and register stood when they were last compared.
    pub fn head(&self) -> EventHead {
        self.log.head
    }

    /// The entries from a number on.
    ///
    /// # Errors
    /// When there are not so many, or the file fails.
    pub fn since(&self, from: u64) -> Result<EventLog, EventError> {
        self.log.since(from).map_err(|e| self.file.failed(e))
    }

    /// Extends RTMR3 by an event and appends it. It may be followed by an entry that says that somebody else extended it too.
    ///
    /// # Errors
    /// When it is not known to be done. It may be found done when the log is next looked at.
    pub fn append(&mut self, event: &Event) -> Result<EventHead, EventError> {
        let before = self.settle()?;
        let entry = Entry::Event(event.encode());
        let wal = Wal {
            number: before.count,
            before: before.rtmr3,
            after: entry.apply(before.rtmr3),
            entry,
        };
        wal.write(&self.file.dir, self.steps)
            .map_err(|e| self.file.failed(e))?;
        let said = self.file.machine.extend(&event.digest());
        self.steps.pass().map_err(|e| self.file.failed(e))?;
        // What the kernel says of it is worth less than what the register says.
        self.settle()?;
        if self.log.head.count <= before.count {
            let e = said
                .err()
                .unwrap_or_else(|| io::Error::other("the kernel said that it was"));
            return Err(EventError::Extend(e));
        }
        Ok(self.log.head)
    }

    /// Brings the log in step with the register, and says where both stand.
    ///
    /// # Errors
    /// When register or files fail.
    pub fn settle(&mut self) -> Result<EventHead, EventError> {
        let register = self.file.register()?;
        let head = self.log.head;
        // No extension leads back: the register was reset, and with it everything that the log explains.
        let reset = register == Rtmr::ZERO || register == self.log.base;
        if head.count > 0 && head.rtmr3 != register && reset {
            tracing::warn!(dir = %self.file.dir.display(), "RTMR3 was reset under the event log: a new one begins");
            self.log = self.file.begin()?;
            return Ok(self.log.head);
        }
        self.finish(register)?;
        if self.log.head.rtmr3 != register {
            tracing::warn!("RTMR3 was extended by something else than Atlas, to {register:?}");
            self.record(&Entry::Foreign(register))?;
        }
        Ok(self.log.head)
    }

    /// What the write-ahead file says, if there is one: done or not, and then gone.
    fn finish(&mut self, register: Rtmr) -> Result<(), EventError> {
        let file = self.file;
        let read = Wal::read(&file.dir).map_err(|e| file.failed(e))?;
        let Some(wal) = read else { return Ok(()) };
        let head = self.log.head;
        let next = head.count == wal.number && head.rtmr3 == wal.before;
        let done = head.count == wal.number + 1 && head.rtmr3 == wal.after;
        if next && register != wal.before {
            if register != wal.after {
                tracing::warn!(
                    "RTMR3 is not what event {} makes of it: whether it was extended by it, or by something else only, is not known",
                    wal.number
                );
            }
            self.record(&wal.entry)?;
        } else if !next && !done {
            tracing::warn!("a write-ahead file does not fit its event log: it is dropped");
        }
        Wal::remove(&file.dir)
            .and_then(|()| self.steps.pass())
            .map_err(|e| file.failed(e))
    }

    fn record(&mut self, entry: &Entry) -> Result<(), EventError> {
        self.log
            .append(entry, self.steps)
            .map_err(|e| self.file.failed(e))
    }
}

/// Makes the directory, for us alone, and refuses one that is not.
fn make_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        // As `control::place` makes it: sockets of users who may not write there lie in it.
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    let uid = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "must be a directory for user {uid} alone (mode 0700)"
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
