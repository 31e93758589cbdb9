//! A log's tree as it grows: which files a batch makes, and how they come to the disk. Not durable by itself: the write-ahead log is.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::edge::Edge;
use super::tile::{Bundle, MAX_LEVEL, Resource, TileError, WIDTH, encode_hashes};
use crate::durable::sync_dir;
use crate::given;
use crate::merkle::leaf_hash;
use crate::statement::SetHead;

/// All of a tree that appending needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    edge: Edge,
    /// The leaves after the last full bundle.
    bundle: Bundle,
}

/// A file and its bytes.
pub(super) type Made = (Resource, Vec<u8>);

impl Tree {
    /// `bundle` has the leaves of the edge's lowest tile.
    pub(super) fn of(edge: Edge, bundle: Bundle) -> Self {
        Self { edge, bundle }
    }

    pub(super) fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(super) fn head(&self) -> SetHead {
        self.edge.head()
    }

    pub(super) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(super) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Adds leaves; what became full is added to `made`.
    ///
    /// # Errors
    /// When a leaf is too long; the tree is of no use then.
    pub(super) fn grow(
        &mut self,
        leaves: &[Vec<u8>],
        made: &mut Vec<Made>,
    ) -> Result<(), TileError> {
        let mut full = Vec::new();
        for leaf in leaves {
            self.bundle.push(leaf)?;
            self.edge.push(leaf_hash(leaf), &mut full);
            if self.bundle.len() as u64 == WIDTH {
                let name = Resource::full_entries(self.size() / WIDTH - 1);
                let bundle = std::mem::take(&mut self.bundle);
                made.push((name, bundle.into_bytes()));
            }
        }
        made.extend(full.into_iter().map(|tile| {
            let name = Resource::full(tile.level, tile.index);
            (name, encode_hashes(&tile.hashes))
        }));
        Ok(())
    }

    /// The partial files that the tree of this size needs and that of `before` had not.
    pub(super) fn partial(&self, before: Option<&Self>, made: &mut Vec<Made>) {
        let had: BTreeSet<Resource> = before
            .iter()
            .flat_map(|b| b.edge.partial().map(|(name, _)| name))
            .collect();
        for (name, hashes) in self.edge.partial() {
            if !had.contains(&name) {
                made.push((name, encode_hashes(hashes)));
            }
        }
        if !self.bundle.is_empty() {
            let name = Resource::Entries {
                index: self.size() / WIDTH,
                width: self.bundle.len() as u16,
            };
            made.push((name, self.bundle.bytes().to_vec()));
        }
    }
}

/// The files of a log, as its one writer sees them.
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Gives a file these bytes, at once for whoever reads it. Partial files that a full one replaces are removed.
    pub(super) fn put(&self, name: &Resource, bytes: &[u8]) -> io::Result<()> {
        let (tmp, to) = (self.dir.join(".new"), self.dir.join(name.path()));
        let mut file = create(&tmp)?;
        file.write_all(bytes)?;
        drop(file);
        match fs::rename(&tmp, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_dirs(to.parent().unwrap_or(&self.dir))?;
                fs::rename(&tmp, &to)?;
            }
            other => other?,
        }
        if *name != Resource::Checkpoint && name.of_full().is_none() {
            let mut partial = to.into_os_string();
            partial.push(".p");
            // Whoever looks for one of them reads the full one.
            match fs::remove_dir_all(&partial) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// The same, unless the file has these bytes.
    pub(super) fn restore(&self, name: &Resource, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(name.path());
        match given::read(&path, name.max_len() as u64) {
            Ok(found) if found == bytes => Ok(()),
            _ => self.put(name, bytes),
        }
    }

    /// Makes durable what became full between two sizes.
    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let mut names = Vec::new();
        for level in 0..=MAX_LEVEL {
            let bits = 8 * (u32::from(level) + 1);
            let full = |size: u64| size.checked_shr(bits).unwrap_or(0);
            for index in full(from)..full(to) {
                names.push(Resource::full(level, index).path());
                if level == 0 {
                    names.push(Resource::full_entries(index).path());
                }
            }
        }
        let mut dirs = BTreeSet::from([PathBuf::new()]);
        for name in &names {
            let file = File::open(self.dir.join(name))?;
            // Has the kernel begin to write: all are on their way before the first is waited for.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            let above = Path::new(name).ancestors().skip(1);
            dirs.extend(above.map(Path::to_owned));
        }
        for name in &names {
            File::open(self.dir.join(name))?.sync_all()?;
        }
        dirs.iter()
            .try_for_each(|dir| sync_dir(&self.dir.join(dir)))
    }
}

/// For all to read and nobody to change, whatever the umask: a daemon of a mount has none.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    options.open(path)
}

/// Directories, likewise.
pub(super) fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}
