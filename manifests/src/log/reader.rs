//! A log as anybody reads it who has its files: proofs and leaves, each checked against the checkpoint's root. Not whether to believe the
//! checkpoint's signatures.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::{Cache, Tile};
use super::checkpoint::Checkpoint;
use super::edge::Edge;
use super::note::NoteError;
use super::proof::Proof;
use super::tile::{Bundle, Resource, WIDTH, hashes};
use crate::digest::Sha256;
use crate::given::{self, GivenError};
use crate::merkle::{self, Subtrees, leaf_hash};
use crate::statement::SetHead;

/// Why a file of a log could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct SourceError {
    /// Which file, as a person would name it.
    pub what: String,
    /// Why, in words.
    pub why: String,
}

/// Where the files of a log are read. What it answers is checked by the reader.
pub trait Source {
    /// The bytes of a file, at most `resource.max_len()`; `None` when there is none.
    ///
    /// # Errors
    /// When that cannot be told.
    fn get(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError>;
}

impl<S: Source + ?Sized> Source for &S {
    fn get(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError> {
        (**self).get(resource)
    }
}

/// A log's directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    flat: bool,
}

impl Directory {
    /// That of a log, whether it is there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            flat: false,
        }
    }

    /// As a mount shows it: without directories below it, `:` in names for `/`.
    pub fn flat(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            flat: true,
        }
    }

    /// Where a file of it lies.
    pub fn file(&self, name: &str) -> PathBuf {
        if self.flat {
            return self.path.join(name.replace('/', ":"));
        }
        self.path.join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.file(&resource.path());
        let failed = |why: String| SourceError {
            what: path.display().to_string(),
            why,
        };
        let file = match given::open(&path) {
            Ok(file) => file,
            Err(GivenError::Io(e)) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(failed(e.to_string())),
        };
        bounded(&file, resource.max_len()).map_err(|e| failed(e.to_string()))
    }
}

impl Source for Directory {
    /// In the place of a partial tile or bundle that was removed when it became full: the beginning of the full one.
    fn get(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(bytes) = self.read(resource)? {
            return Ok(Some(bytes));
        }
        let Some(full) = resource.of_full() else {
            return Ok(None);
        };
        Ok(self.read(&full)?.and_then(|bytes| cut(resource, bytes)))
    }
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn bounded(file: &File, most: usize) -> io::Result<Option<Vec<u8>>> {
    let known = file.metadata()?.len().min(most as u64) as usize;
    let mut bytes = Vec::with_capacity(known + 1);
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let why = format!("it is longer than {most} bytes, so it is no file of a log");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(bytes))
}

/// What a partial file held, from the full one; `None` when that is not long enough.
fn cut(partial: &Resource, mut full: Vec<u8>) -> Option<Vec<u8>> {
    match *partial {
        Resource::Checkpoint => None,
        Resource::Tile { width, .. } => {
            let length = partial.max_len();
            (full.len() >= length && width > 0).then(|| {
                full.truncate(length);
                full
            })
        }
        Resource::Entries { width, .. } => {
            Bundle::first(full, width).ok().map(|b| b.bytes().to_vec())
        }
    }
}

/// Why a log does not answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It has no checkpoint: nothing was ever logged, or this is no log.
    #[error("{0} has no checkpoint: nothing is logged there")]
    Empty(String),
    /// A file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What stands in the checkpoint's place is none.
    #[error("the log's checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// A file that the checkpoint speaks of is not there, or is not what the checkpoint's root says.
    #[error(
        "the log is damaged at {at}: {why}; restore it from a copy, and let no one trust what it says until then"
    )]
    Damaged {
        /// Which file.
        at: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no such leaf, or no tree of that size yet.
    #[error("the log has {size} leaves: {asked} is beyond them")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// How many there are.
        size: u64,
    },
}

/// A log at one checkpoint. All that it answers leads to that checkpoint's root; memory does not grow with the log.
pub struct LogReader<S> {
    source: S,
    checkpoint: Checkpoint,
    edge: Edge,
    cache: Mutex<Cache>,
}

impl<S: Source> LogReader<S> {
    /// A log as it is now: reads the newest checkpoint, and checks that the tree's right edge has its root.
    ///
    /// # Errors
    /// When there is no checkpoint, or the tree is another.
    pub fn open(source: S) -> Result<Self, LogError> {
        let found = source.get(&Resource::Checkpoint)?;
        let bytes = found.ok_or_else(|| LogError::Empty("the log".to_owned()))?;
        let checkpoint = Checkpoint::parse(&bytes)?;
        Self::at(source, checkpoint)
    }

    /// A log as it was at a checkpoint. What is logged since is not seen.
    ///
    /// # Errors
    /// When the tree does not reach so far, or is another.
    pub fn at(source: S, checkpoint: Checkpoint) -> Result<Self, LogError> {
        let SetHead { size, root } = checkpoint.head.head;
        let edge = Edge::load(size, |name| partial(&source, name))?;
        if edge.root() != root {
            return Err(LogError::Damaged {
                at: "the right edge of its tree".to_owned(),
                why: "its root is not the checkpoint's",
            });
        }
        Ok(Self {
            source,
            checkpoint,
            edge,
            cache: Mutex::default(),
        })
    }

    /// The checkpoint that it is read at.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint's size and root.
    pub fn head(&self) -> SetHead {
        self.checkpoint.head.head
    }

    /// Where it is read.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// When there are not so many, or a tile cannot be believed.
    pub fn root(&self, size: u64) -> Result<Sha256, LogError> {
        self.has(size)?;
        merkle::root(self, size)
    }

    /// The bytes of a leaf.
    ///
    /// # Errors
    /// When there is no such leaf, or its bundle cannot be believed.
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let bundle = self.bundle(index / WIDTH, index)?;
        let leaf = bundle.get((index % WIDTH) as usize);
        leaf.map(<[u8]>::to_vec).ok_or(self.beyond(index))
    }

    /// All leaves `number * 256 ..` of one bundle that the tree has.
    ///
    /// # Errors
    /// When there is none, or the bundle cannot be believed.
    pub fn leaves(&self, number: u64) -> Result<Arc<Bundle>, LogError> {
        self.bundle(number, number.saturating_mul(WIDTH))
    }

    /// The proof that leaf `index` is in the tree of `size` leaves.
    ///
    /// # Errors
    /// When there is no such leaf or tree, or a tile cannot be believed.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256>, LogError> {
        self.has(size)?;
        if index >= size {
            return Err(LogError::Beyond { asked: index, size });
        }
        merkle::inclusion(self, index, size)
    }

    /// The proof that the tree of `new` leaves extends that of `old`.
    ///
    /// # Errors
    /// When there is no such tree, or a tile cannot be believed.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Sha256>, LogError> {
        self.has(new)?;
        if old > new {
            return Err(LogError::Beyond {
                asked: old,
                size: new,
            });
        }
        merkle::consistency(self, old, new)
    }

    /// The proof of a leaf that stands alone, under this checkpoint.
    ///
    /// # Errors
    /// When there is no such leaf, or a tile cannot be believed.
    pub fn proof(&self, index: u64) -> Result<Proof, LogError> {
        Ok(Proof {
            extra: None,
            index,
            hashes: self.inclusion(index, self.edge.size())?,
            checkpoint: self.checkpoint.clone(),
        })
    }

    fn beyond(&self, asked: u64) -> LogError {
        LogError::Beyond {
            asked,
            size: self.edge.size(),
        }
    }

    fn has(&self, size: u64) -> Result<(), LogError> {
        if size > self.edge.size() {
            return Err(self.beyond(size));
        }
        Ok(())
    }

    fn bundle(&self, number: u64, asked: u64) -> Result<Arc<Bundle>, LogError> {
        let size = self.edge.size();
        if asked >= size {
            return Err(self.beyond(asked));
        }
        if let Some(bundle) = self.cache().bundle(number) {
            return Ok(bundle);
        }
        let width = (size - number * WIDTH).min(WIDTH) as u16;
        let name = Resource::Entries {
            index: number,
            width,
        };
        let wrong = |why| damaged(&name, why);
        let bundle = Bundle::decode(fetch(&self.source, &name)?, width).map_err(|e| wrong(e.0))?;
        let full = (u64::from(width) == WIDTH)
            .then(|| self.tile(0, number))
            .transpose()?;
        let tree = match &full {
            Some(tile) => tile.hashes(),
            None => self.edge.level(0),
        };
        if !bundle.iter().map(leaf_hash).eq(tree.iter().copied()) {
            return Err(wrong("a leaf is not the one whose hash is in the tree"));
        }
        let bundle = Arc::new(bundle);
        self.cache().keep_bundle(number, Arc::clone(&bundle));
        Ok(bundle)
    }

    /// A full tile, whose hashes lead to the checkpoint's root.
    fn tile(&self, level: u8, index: u64) -> Result<Arc<Tile>, LogError> {
        if let Some(tile) = self.cache().tile(level, index) {
            return Ok(tile);
        }
        let expected = self.hash(level + 1, index)?;
        let name = Resource::full(level, index);
        let wrong = |why| damaged(&name, why);
        let found = hashes(&fetch(&self.source, &name)?, WIDTH as u16).map_err(|e| wrong(e.0))?;
        let tile = Arc::new(Tile::of(&found));
        if tile.root() != expected {
            return Err(wrong("its hashes do not lead to the checkpoint's root"));
        }
        self.cache().keep_tile(level, index, Arc::clone(&tile));
        Ok(tile)
    }

    /// The hash at a place of a level of tiles.
    fn hash(&self, level: u8, place: u64) -> Result<Sha256, LogError> {
        let (index, at) = (place / WIDTH, (place % WIDTH) as usize);
        let found = if self.is_full(level, index) {
            self.tile(level, index)?.hashes().get(at).copied()
        } else {
            self.edge.level(level).get(at).copied()
        };
        found.ok_or(self.beyond(place))
    }

    fn is_full(&self, level: u8, index: u64) -> bool {
        let bits = 8 * (u32::from(level) + 1);
        index < self.edge.size().checked_shr(bits).unwrap_or(0)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // What is in it is whole whoever panicked.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source> Subtrees for LogReader<S> {
    type Error = LogError;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, LogError> {
        let (tiles, within) = ((level / 8) as u8, level % 8);
        if within == 0 {
            return self.hash(tiles, index);
        }
        let first = index << within;
        let number = first / WIDTH;
        if self.is_full(tiles, number) {
            let at = (index % (WIDTH >> within)) as usize;
            let node = self.tile(tiles, number)?.node(within, at);
            return node.ok_or(self.beyond(index));
        }
        let from = (first % WIDTH) as usize;
        let below = self.edge.level(tiles).get(from..from + (1 << within));
        let below = below.ok_or(self.beyond(index))?;
        Ok(super::edge::subtree_root(below))
    }
}

fn fetch<S: Source>(source: &S, name: &Resource) -> Result<Vec<u8>, LogError> {
    source
        .get(name)?
        .ok_or_else(|| damaged(name, "it is missing"))
}

fn partial<S: Source>(source: &S, name: Resource) -> Result<Vec<Sha256>, LogError> {
    let Resource::Tile { width, .. } = name else {
        return Ok(Vec::new());
    };
    hashes(&fetch(source, &name)?, width).map_err(|e| damaged(&name, e.0))
}

fn damaged(name: &Resource, why: &'static str) -> LogError {
    LogError::Damaged {
        at: name.path(),
        why,
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
