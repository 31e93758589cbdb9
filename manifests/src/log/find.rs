//! Where in a log something is said: leaves by the manifest, the instance or the inputs that they name. Files under `find/` make it quick,
//! and are believed in nothing that can be checked: each leaf found is read from the log itself.
//!
//! What a file does not list cannot be checked without reading all leaves: its checksums are against accidents. Whoever must not miss a
//! revocation that somebody with the disk in his hands hides, asks `Finder::scanning`.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::leaf::{Leaf, Reason, Revoked};
use super::lookup::{self, Entry, Kind, SPAN};
use super::reader::{Directory, LogError, LogReader, Source};
use super::tile::WIDTH;
use crate::digest::Sha256;
use crate::id::{InstanceId, RunId};
use crate::merkle::Subtrees as _;
use crate::statement::SetHead;

/// A leaf and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its index.
    pub index: u64,
    /// What it says.
    pub leaf: Leaf,
}

/// What a log says of one life of a daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// The first leaf that says that it began.
    pub begun: Option<Found>,
    /// The newest anchor.
    pub anchor: Option<Found>,
    /// The first anchor that says that it was the last.
    pub ended: Option<Found>,
    /// The first revocation.
    pub revoked: Option<Found>,
}

/// Finds leaves of a log as it is at the reader's checkpoint.
pub struct Finder<'a, S> {
    reader: &'a LogReader<S>,
    files: Option<PathBuf>,
    /// What the leaves after the last whole span name: read once, at most 65,535 of them.
    tail: OnceLock<Vec<Entry>>,
}

impl<'a> Finder<'a, Directory> {
    /// With the help of the files in the log's directory.
    pub fn new(reader: &'a LogReader<Directory>) -> Self {
        Self {
            files: Some(reader.source().path().join(lookup::DIR)),
            ..Self::scanning(reader)
        }
    }
}

impl<'a, S: Source> Finder<'a, S> {
    /// Reads all leaves for each answer.
    pub fn scanning(reader: &'a LogReader<S>) -> Self {
        Self {
            reader,
            files: None,
            tail: OnceLock::new(),
        }
    }

    /// The first leaf of a manifest.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn manifest(&self, digest: &Sha256) -> Result<Option<Found>, LogError> {
        self.first(
            lookup::of_digest(digest),
            Kind::Manifest,
            |leaf| matches!(leaf, Leaf::Manifest { manifest, .. } if manifest == digest),
        )
    }

    /// The first leaf of a run's inputs as a manifest names them.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn inputs(&self, run: RunId, head: SetHead) -> Result<Option<Found>, LogError> {
        let wanted = Leaf::Inputs { run, head };
        self.first(lookup::of_digest(&head.root), Kind::Inputs, |leaf| {
            *leaf == wanted
        })
    }

    /// The first revocation of something, and its reason.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn revoked(&self, wanted: Revoked) -> Result<Option<(u64, Reason)>, LogError> {
        let key = match wanted {
            Revoked::Manifest(digest) => lookup::of_digest(&digest),
            Revoked::Instance(id) => lookup::of_instance(&id),
        };
        let found = self.first(
            key,
            Kind::Revocation,
            |leaf| matches!(leaf, Leaf::Revocation { what, .. } if *what == wanted),
        )?;
        Ok(found.and_then(|found| match found.leaf {
            Leaf::Revocation { reason, .. } => Some((found.index, reason)),
            _ => None,
        }))
    }

    /// What is said of a life of a daemon.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn life(&self, id: &InstanceId) -> Result<Life, LogError> {
        let mut life = Life::default();
        let key = lookup::of_instance(id);
        for span in 0..=self.reader.head().size / SPAN {
            let entries = self.entries(span, key)?;
            let first = |kind: Kind| {
                self.one(entries.iter().filter(|(_, k)| *k == kind), |leaf| {
                    is_about(leaf, id)
                })
            };
            if life.begun.is_none() {
                life.begun = first(Kind::Instance)?;
            }
            if life.ended.is_none() {
                life.ended = first(Kind::End)?;
            }
            if life.revoked.is_none() {
                life.revoked = first(Kind::Revocation)?;
            }
            let anchors = entries
                .iter()
                .rev()
                .filter(|(_, k)| matches!(k, Kind::Anchor | Kind::End));
            let newest = self.one(anchors, |leaf| is_about(leaf, id))?;
            life.anchor = newest.or(life.anchor);
        }
        Ok(life)
    }

    fn first(
        &self,
        key: [u8; 8],
        kind: Kind,
        is: impl Fn(&Leaf) -> bool,
    ) -> Result<Option<Found>, LogError> {
        for span in 0..=self.reader.head().size / SPAN {
            let entries = self.entries(span, key)?;
            let found = self.one(entries.iter().filter(|(_, k)| *k == kind), &is)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first of these that is what its entry says.
    fn one<'e>(
        &self,
        entries: impl Iterator<Item = &'e (u64, Kind)>,
        is: impl Fn(&Leaf) -> bool,
    ) -> Result<Option<Found>, LogError> {
        for (index, _) in entries {
            let bytes = self.reader.leaf(*index)?;
            if let Some(leaf) = Leaf::decode(&bytes).ok().filter(&is) {
                let index = *index;
                return Ok(Some(Found { index, leaf }));
            }
        }
        Ok(None)
    }

    /// What may be about a key in one span, in the log's order.
    fn entries(&self, span: u64, key: [u8; 8]) -> Result<Vec<(u64, Kind)>, LogError> {
        let size = self.reader.head().size;
        let mine = |entries: &[Entry]| {
            let from = entries.partition_point(|e| e.key < key);
            let mut mine: Vec<(u64, Kind)> = entries[from..]
                .iter()
                .take_while(|e| e.key == key)
                .map(|e| (span * SPAN + u64::from(e.at), e.kind))
                .collect();
            mine.sort_unstable_by_key(|(index, _)| *index);
            mine
        };
        if span == size / SPAN {
            if self.tail.get().is_none() {
                // Two that read it at once read the same.
                let _ = self.tail.set(scan(self.reader, span)?);
            }
            return Ok(mine(self.tail.get().map_or(&[], Vec::as_slice)));
        }
        if let Some(files) = &self.files {
            let root = self.reader.subtree(SPAN.trailing_zeros(), span)?;
            if let Some(entries) = lookup::read(files, span, &root, key) {
                return Ok(mine(&entries));
            }
        }
        Ok(mine(&scan(self.reader, span)?))
    }
}

fn is_about(leaf: &Leaf, id: &InstanceId) -> bool {
    match leaf {
        Leaf::Instance { instance, .. } | Leaf::Anchor { instance, .. } => instance == id,
        Leaf::Revocation { what, .. } => *what == Revoked::Instance(*id),
        Leaf::Manifest { .. } | Leaf::Inputs { .. } => false,
    }
}

/// What the leaves of a span name, in the order of keys.
fn scan<S: Source>(reader: &LogReader<S>, span: u64) -> Result<Vec<Entry>, LogError> {
    let (from, to) = (span * SPAN, (span.saturating_add(1)) * SPAN);
    let to = to.min(reader.head().size);
    let mut entries = Vec::new();
    let mut at = from;
    while at < to {
        let bundle = reader.leaves(at / WIDTH)?;
        for (n, leaf) in bundle.iter().enumerate() {
            let at = (at - from + n as u64) as u16;
            // What another version logged is nothing that this one is asked for.
            entries.extend(Leaf::decode(leaf).ok().map(|leaf| Entry::of(&leaf, at)));
        }
        at += WIDTH;
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Writes the files of spans that are whole and have none, the newest first, at most this many; tells how many it wrote.
///
/// # Errors
/// When the log cannot be read, or they cannot be written: they are missed by nobody.
pub fn refresh(reader: &LogReader<Directory>, most: usize) -> Result<usize, LogError> {
    let dir = reader.source().path().join(lookup::DIR);
    let mut wrote = 0;
    for span in (0..reader.head().size / SPAN).rev() {
        if wrote == most {
            break;
        }
        if lookup::is_there(&dir, span) {
            continue;
        }
        let root = reader.subtree(SPAN.trailing_zeros(), span)?;
        lookup::write(&dir, span, &root, &scan(reader, span)?)?;
        wrote += 1;
    }
    Ok(wrote)
}

/// After a log grew. What fails here is missing, and somebody scans.
pub(super) fn refresh_after(dir: &std::path::Path, before: u64, after: u64) {
    let spans = (after / SPAN).saturating_sub(before / SPAN) as usize;
    if spans == 0 {
        return;
    }
    // One more: that of a span during whose end the writer was killed.
    let done = LogReader::open(Directory::new(dir)).and_then(|reader| refresh(&reader, spans + 1));
    if let Err(e) = done {
        tracing::warn!("{}: no lookup file: {e}", dir.display());
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
