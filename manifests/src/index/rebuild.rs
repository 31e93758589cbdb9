//! Making a damaged or lost index anew from the store. Not a repair of the old file, whose rows are not looked at.

use std::path::Path;

use super::{Batch, Index, IndexError};
use crate::durable::sync_dir;
use crate::scan::StoreScan;
use crate::store::Store;

/// A rebuilt index knows only numbers that something in the store mentions. It goes on after a gap of this many, so that a number
/// that was given out and never sealed is not given out again.
const GAP: u64 = 1 << 24;
/// Rows per transaction.
const PART: usize = 4096;

impl Index {
    /// Makes the index anew from what the store holds: manifests, input sets, and private records where they can be read. The old
    /// file is replaced only when the new one is whole. The index must not be open.
    pub fn rebuild(path: &Path, store: &Store) -> Result<Self, IndexError> {
        let scan = StoreScan::open(store)?;
        let used = scan.highest_versions();
        let tmp = path.with_extension("redb.new");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| IndexError::Io { path, source }
        };
        match std::fs::remove_file(&tmp) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&tmp)(e)),
            _ => {}
        }
        // Fails when somebody has the old one open, rather than pulling it away from under them.
        if let Err(locked @ IndexError::Locked { .. }) = Self::open_read_only(path) {
            return Err(locked);
        }
        let new = Self::open(&tmp)?;
        let links = scan.assets();
        let (mut versions, uses, runs) = scan.into_rows();
        store.state_logged(&mut versions);
        let none = Batch::default;
        for part in versions.chunks(PART) {
            new.write(&Batch {
                versions: part.to_vec(),
                ..none()
            })?;
        }
        for part in uses.chunks(PART) {
            new.write(&Batch {
                uses: part.to_vec(),
                ..none()
            })?;
        }
        new.write(&Batch { runs, ..none() })?;
        new.change(true, |tables| {
            tables.meta.insert("reserved", used.saturating_add(GAP))?;
            Ok(())
        })?;
        new.close();
        std::fs::rename(&tmp, path).map_err(io(path))?;
        sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io(path))?;
        store.relink(&links).map_err(|e| IndexError::Io {
            path: e.path,
            source: e.source,
        })?;
        Self::open(path)
    }
}
