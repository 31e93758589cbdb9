//! What is where, in one redb file per node. A cache over the store, rebuilt from it when damaged; never evidence.
//!
//! Batches are visible at once and durable at the next `sync` (or every `SYNC_EVERY` batches): a crash loses only what the
//! daemon's journal and the store give back.

mod key;
mod read;
mod rebuild;
mod write;

use std::fmt;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, TableDefinition};

use crate::id::NodeId;
use crate::rows::{RunRow, UseRow, VersionRow};
use crate::shelf::ShelfError;

/// Every so many batches one is made durable by itself, which bounds what redb keeps in memory.
const SYNC_EVERY: u32 = 256;
/// Page cache of one open index, in bytes.
const CACHE: usize = 64 << 20;

type Bytes = &'static [u8];
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Node -> `VersionRow` (JSON).
const VERSIONS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("versions");
/// Path, 0, node.
const PATHS: TableDefinition<'_, Bytes, ()> = TableDefinition::new("paths");
/// The same of what is still there: a name that is used over and over has many versions, and one at most that a rename moves.
const PRESENT: TableDefinition<'_, Bytes, ()> = TableDefinition::new("present");
/// BLAKE3, node.
const BLAKE3: TableDefinition<'_, Bytes, ()> = TableDefinition::new("blake3");
/// SHA-256, node.
const SHA256: TableDefinition<'_, Bytes, ()> = TableDefinition::new("sha256");
/// Run -> `RunRow` (JSON), without processes.
const RUNS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("runs");
/// Run, number -> `ProcessRow` (JSON).
const PROCESSES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("processes");
/// Run, node that it wrote.
const WRITTEN: TableDefinition<'_, Bytes, ()> = TableDefinition::new("written");
/// Run, order -> `UseRow` (JSON).
const USES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("uses");
/// Node, run, order.
const USERS: TableDefinition<'_, Bytes, ()> = TableDefinition::new("users");
/// `FileIdentity` -> node.
const IDENTITIES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("identities");

/// Why the index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file is not what it should be.
    #[error(
        "the index {path:?} is damaged ({reason}): rebuild it from the store with `atlasctl doctor --rebuild`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Its last owner was killed. Opening it for writing repairs it; who only reads uses the store instead.
    #[error(
        "the index {0:?} was not closed by its last owner: mount again (it repairs itself), or rebuild it with `atlasctl doctor --rebuild`"
    )]
    Unclosed(PathBuf),
    /// Somebody else has it open.
    #[error("the index {path:?} is in use{}: ask that daemon, or unmount first", By(*pid))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who, when the node's lock file says so.
        pid: Option<u32>,
    },
    /// Reading or writing failed.
    #[error("the index {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A write was asked of an index that was opened for reading.
    #[error("the index {0:?} was opened for reading only")]
    ReadOnly(PathBuf),
    /// While rebuilding, the store could not be read.
    #[error(transparent)]
    Store(#[from] ShelfError),
}

struct By(Option<u32>);

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " by process {pid}"))
    }
}

/// Rows to be written together, or not at all. A row replaces the one of the same name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// By `node`.
    pub versions: Vec<VersionRow>,
    /// By `run` and `order`.
    pub uses: Vec<UseRow>,
    /// By `id`; processes that a row does not tell of stay.
    pub runs: Vec<RunRow>,
}

enum Db {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// One node's index.
pub struct Index {
    path: PathBuf,
    /// `None` once it is closed.
    db: RwLock<Option<Db>>,
    writer: Mutex<Writer>,
}

/// Held for the whole of each write.
#[derive(Default)]
struct Writer {
    /// Batches since the last durable one.
    unsynced: u32,
    /// The next version number to give out.
    next: u64,
    /// Numbers below this are reserved durably.
    reserved: u64,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the index for writing, making it when there is none. Repairs what an unclean end left.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        regular(path)?;
        let db = guarded(path, || {
            // It names paths that the manifests withhold: nobody else reads it, whatever the umask.
            let private = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            private.set_permissions(Permissions::from_mode(0o600))?;
            let db = Database::builder()
                .set_cache_size(CACHE)
                .create_file(private)?;
            Ok(Db::Writable(db))
        })?;
        let index = Self::with(path, db);
        index.prepare()?;
        Ok(index)
    }

    /// Opens an existing index beside a stopped daemon; changes nothing.
    pub fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        regular(path)?;
        let db = guarded(path, || {
            let db = Database::builder()
                .set_cache_size(CACHE)
                .open_read_only(path)?;
            Ok(Db::ReadOnly(db))
        })?;
        let index = Self::with(path, db);
        index.read(|txn| {
            // A file that redb can open but that holds none of our tables is not ours.
            txn.open_table(VERSIONS)?;
            Ok(())
        })?;
        Ok(index)
    }

    fn with(path: &Path, db: Db) -> Self {
        Self {
            path: path.to_owned(),
            db: RwLock::new(Some(db)),
            writer: Mutex::new(Writer::default()),
        }
    }

    /// Writes everything, and says in the file that its owner has closed it, so that readers need no repair. Nothing can be read or
    /// written through this value afterwards. A daemon calls it at its end: its workers may hold the index until the process is gone.
    pub fn close(&self) {
        let db = self
            .db
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // redb writes its last words here, and panics on some damaged files.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(db)));
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, IndexError> {
        guarded(&self.path, || {
            let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
            let txn = match &*db {
                Some(Db::Writable(db)) => db.begin_read()?,
                Some(Db::ReadOnly(db)) => db.begin_read()?,
                None => return Err(redb::Error::Corrupted("closed".to_owned())),
            };
            body(&txn)
        })
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.close();
    }
}

/// A pipe in a copied state would keep whoever opens it waiting.
fn regular(path: &Path) -> Result<(), IndexError> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => Err(damaged(path, "it is not a regular file")),
        // Whatever else is wrong, opening it will say.
        _ => Ok(()),
    }
}

/// redb answers damage with an error where it looks for it, and with a panic where it does not: both become `Damaged`.
/// What the panic leaves half-done is the transaction, which is then dropped, and never committed.
fn guarded<T>(path: &Path, body: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(translate(path, e)),
        Err(_) => Err(damaged(path, "its pages do not fit together")),
    }
}

fn damaged(path: &Path, reason: &str) -> IndexError {
    IndexError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn translate(path: &Path, e: redb::Error) -> IndexError {
    match e {
        redb::Error::DatabaseAlreadyOpen => IndexError::Locked {
            path: path.to_owned(),
            pid: holder(path),
        },
        redb::Error::RepairAborted => IndexError::Unclosed(path.to_owned()),
        redb::Error::Io(e)
            if !matches!(
                e.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            IndexError::Io {
                path: path.to_owned(),
                source: e,
            }
        }
        other => damaged(path, &other.to_string()),
    }
}

/// Who holds the node's directory that the index lies in.
fn holder(path: &Path) -> Option<u32> {
    let dir = path.parent()?;
    let node: NodeId = dir.file_name()?.to_str()?.parse().ok()?;
    crate::layout::Layout::at(Path::new(""), Some(dir.parent()?)).holder(node)
}

impl From<IndexError> for ShelfError {
    fn from(e: IndexError) -> Self {
        match e {
            IndexError::Io { path, source } => Self::Io {
                what: format!("the index {path:?}"),
                source,
            },
            IndexError::Store(e) => e,
            other => Self::Damaged(other.to_string()),
        }
    }
}

#[cfg(test)]
mod rebuild_tests;
#[cfg(test)]
mod tests;
