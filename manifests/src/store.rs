//! The content-addressed store: immutable objects, durable before `put` returns, checked as they are read. Not an index, and not a cache.

mod logged;
mod place;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use crate::digest::{Digests, Sha256};
pub use crate::durable::WriteOut;
use crate::durable::{Written, make_dir_soon, publish};
use crate::evidence::Evidence;
use crate::id::NodeId;
use crate::layout::Layout;
use crate::log::state::Logs;
use crate::shelf::{Entry, Logged, Object, Shelf, ShelfError};
use crate::statement::{Sealed, Statement};
pub(crate) use place::limit;
use place::place;

/// Why an object could not be kept. `source` is the system's own error: ENOSPC and EROFS come back as themselves.
#[derive(Debug, thiserror::Error)]
#[error("{path:?}: {source}")]
pub struct StoreError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// One object to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Which kind.
    pub object: Object,
    /// Its name (see `Object`).
    pub name: Sha256,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// For a manifest: the content that it is about, and when it was sealed, so that it can be found by content.
    pub about: Option<(Digests, String)>,
}

impl Item {
    /// A manifest, to be found by its content too.
    pub fn manifest(sealed: &Sealed, statement: &Statement) -> Self {
        Self {
            object: Object::Manifest,
            name: sealed.reference.sha256,
            bytes: sealed.manifest.clone(),
            about: Some((statement.asset.digests, statement.sealed_at.clone())),
        }
    }

    /// A segment of an input set, under the root of the set at its end.
    pub fn inputs(root: Sha256, bytes: Vec<u8>) -> Self {
        Self::plain(Object::Inputs, root, bytes)
    }

    /// The member list of a registered set.
    pub fn members(bytes: Vec<u8>) -> Self {
        Self::plain(Object::Members, Sha256::of(&bytes), bytes)
    }

    /// The private record of a manifest.
    pub fn private(manifest: Sha256, bytes: Vec<u8>) -> Self {
        Self::plain(Object::Private, manifest, bytes)
    }

    /// A piece of evidence, under the digest of its binding.
    pub fn evidence(evidence: &Evidence) -> Self {
        Self::plain(Object::Evidence, evidence.id(), evidence.encode())
    }

    /// Collateral.
    pub fn collateral(bytes: Vec<u8>) -> Self {
        Self::plain(Object::Collateral, Sha256::of(&bytes), bytes)
    }

    fn plain(object: Object, name: Sha256, bytes: Vec<u8>) -> Self {
        Self {
            object,
            name,
            bytes,
            about: None,
        }
    }
}

/// `store/` of one state. Nodes may share it: an object is written under a name of its own and renamed.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    next_tmp: AtomicU64,
    write_out: Option<WriteOut>,
    /// The logs beside it.
    logs: Option<Logs>,
}

impl Store {
    /// Opens the store of a layout; makes nothing.
    pub fn open(layout: &Layout) -> Self {
        Self {
            logs: Some(Logs::of(layout)),
            ..Self::at(&layout.store())
        }
    }

    /// Opens a store that lies anywhere, for example a copy.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            next_tmp: AtomicU64::new(0),
            write_out: None,
            logs: None,
        }
    }

    /// With a way to write files out without a commit for each of them.
    #[must_use]
    pub fn writing_out(mut self, how: WriteOut) -> Self {
        self.write_out = Some(how);
        self
    }

    /// Keeps one object. Idempotent; durable when it returns.
    pub fn put(&self, item: &Item) -> Result<(), StoreError> {
        self.put_many(std::slice::from_ref(item))
    }

    /// Keeps several, and waits for the disk once per directory instead of once per object. All are durable when it returns; after
    /// an error some of them may be kept, each whole.
    pub fn put_many(&self, items: &[Item]) -> Result<(), StoreError> {
        let mut written = Vec::with_capacity(items.len());
        let result = self.write_all(items, &mut written);
        if result.is_err() {
            for w in &written {
                let _ = fs::remove_file(&w.tmp);
            }
        }
        result
    }

    fn write_all(&self, items: &[Item], written: &mut Vec<Written>) -> Result<(), StoreError> {
        let mut dirs = BTreeSet::new();
        for item in items {
            let kind = place(item.object);
            let to = self.path(item.object, &item.name);
            let dir = to.parent().unwrap_or(&self.root).to_owned();
            if self.holds(item, &to) {
                dirs.insert(dir);
                continue;
            }
            if !dir.is_dir() {
                let top = self.root.join(kind.dir);
                for d in [&top, &top.join("sha256"), &dir] {
                    make_dir_soon(d, kind.dir_mode, &mut dirs).map_err(error(d))?;
                }
            }
            let tmp = self.tmp_name(&to);
            let file = create(&tmp, kind.mode).map_err(error(&tmp))?;
            written.push(Written { tmp, to, file });
            if let Some(w) = written.last_mut() {
                w.file.write_all(&item.bytes).map_err(error(&w.tmp))?;
            }
            dirs.insert(dir);
        }
        publish(written, &dirs, self.write_out).map_err(|(path, e)| error(&path)(e))?;
        for item in items {
            if let Some((asset, sealed_at)) = &item.about {
                self.point(asset, &item.name, sealed_at)?;
            }
        }
        Ok(())
    }

    /// True when the same bytes are there already. A damaged object under that name is written again.
    fn holds(&self, item: &Item, path: &Path) -> bool {
        matches!(read_limited(path, place(item.object).limit), Ok(Some(bytes)) if bytes == item.bytes)
    }

    /// Makes a manifest findable by content: `assets/<alg>/ab/<62 hex>/<manifest hex>`, which holds the time of the seal. Derived
    /// from the manifest and not synced by itself: `relink` makes all of them again.
    fn point(&self, asset: &Digests, manifest: &Sha256, sealed_at: &str) -> Result<(), StoreError> {
        for dir in self.asset_dirs(asset) {
            make_dir_soon(&dir, 0o755, &mut BTreeSet::new()).map_err(error(&dir))?;
            let to = dir.join(manifest.hex());
            if to.exists() {
                continue;
            }
            let tmp = self.tmp_name(&to);
            let write = || {
                create(&tmp, 0o644)?.write_all(sealed_at.as_bytes())?;
                fs::rename(&tmp, &to)
            };
            write().map_err(|e| {
                let _ = fs::remove_file(&tmp);
                error(&to)(e)
            })?;
        }
        Ok(())
    }

    /// Makes the pointers from content to manifest again, for example in a store that was copied without them.
    pub fn relink(&self, manifests: &[(Sha256, Digests, String)]) -> Result<(), StoreError> {
        for (name, asset, sealed_at) in manifests {
            self.point(asset, name, sealed_at)?;
        }
        Ok(())
    }

    /// The names of all objects of a kind, in order. Leftovers and anything that is not so named are ignored.
    pub fn names(&self, object: Object) -> Result<Vec<Sha256>, ShelfError> {
        let kind = place(object);
        let mut names = Vec::new();
        let top = self.root.join(kind.dir).join("sha256");
        for high in entries(&top)? {
            let Some(high) = high.to_str().filter(|h| h.len() == 2) else {
                continue;
            };
            for low in entries(&top.join(high))? {
                let name = low
                    .to_str()
                    .and_then(|l| l.strip_suffix(kind.suffix))
                    .and_then(|l| Sha256::from_hex(&format!("{high}{l}")).ok());
                names.extend(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Where an object lies, whether it is there or not.
    pub fn path(&self, object: Object, name: &Sha256) -> PathBuf {
        let kind = place(object);
        let hex = name.hex();
        let (high, low) = hex.split_at(2);
        let mut file = self.root.join(kind.dir);
        file.extend(["sha256", high]);
        file.push(format!("{low}{}", kind.suffix));
        file
    }

    fn asset_dirs(&self, asset: &Digests) -> [PathBuf; 2] {
        [
            ("blake3", asset.blake3.hex()),
            ("sha256", asset.sha256.hex()),
        ]
        .map(|(alg, hex)| {
            let (high, low) = hex.split_at(2);
            let mut dir = self.root.join("assets");
            dir.extend([alg, high, low]);
            dir
        })
    }

    /// In the same directory as its target, hidden, and of nobody else: pid and a counter, and O_EXCL finds out the rest.
    fn tmp_name(&self, to: &Path) -> PathBuf {
        let n = self.next_tmp.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(format!(".tmp-{}-{n}-", std::process::id()));
        name.push(to.file_name().unwrap_or_default());
        to.with_file_name(name)
    }
}

impl Shelf for Store {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        let path = self.path(kind, name);
        let what = || format!("{path:?}");
        let bytes = match read_limited(&path, place(kind).limit) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return Err(ShelfError::Damaged(format!("{}: {e}", what())));
            }
            Err(source) => {
                return Err(ShelfError::Io {
                    what: what(),
                    source,
                });
            }
        };
        if place(kind).hashed && Sha256::of(&bytes) != *name {
            return Err(ShelfError::Damaged(format!(
                "{} does not hold what its name says: restore it from a copy of the store",
                what()
            )));
        }
        Ok(Some(bytes))
    }

    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        let mut found = BTreeSet::new();
        for dir in self.asset_dirs(asset) {
            for name in entries(&dir)? {
                let Some(hash) = name.to_str().and_then(|n| Sha256::from_hex(n).ok()) else {
                    continue;
                };
                let when = read_limited(&dir.join(&name), 64).ok().flatten();
                let when = when
                    .and_then(|b| String::from_utf8(b).ok()?.parse::<jiff::Timestamp>().ok())
                    .unwrap_or_default();
                found.insert((when, hash));
            }
        }
        let mut names: Vec<Sha256> = found.into_iter().map(|(_, hash)| hash).collect();
        // A pointer damaged under one algorithm gives the same manifest twice, at two times.
        let mut seen = BTreeSet::new();
        names.reverse();
        names.retain(|n| seen.insert(*n));
        names.reverse();
        Ok(names)
    }

    fn transparency(&self, entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        let logged = self.logs.as_ref().map(|l| l.logged(entry)).transpose()?;
        Ok(logged.flatten())
    }

    fn growth(&self, node: NodeId, old: u64, new: u64) -> Result<Option<Vec<Sha256>>, ShelfError> {
        let grown = self.logs.as_ref().map(|l| l.growth(node, old, new));
        Ok(grown.transpose()?.flatten())
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// The bytes of a regular file; `None` when there is none. Neither a link nor a pipe in a copied store leads anywhere.
fn read_limited(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
    {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    let damaged = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    if !meta.is_file() {
        return Err(damaged("not a regular file"));
    }
    if meta.len() > limit {
        return Err(damaged("larger than any such object can be"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn entries(dir: &Path) -> Result<Vec<OsString>, ShelfError> {
    let io = |source| ShelfError::Io {
        what: format!("{dir:?}"),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(io(e)),
    };
    entries
        .map(|e| e.map(|e| e.file_name()).map_err(io))
        .collect()
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |source| StoreError {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Item {
        Item::members(text.as_bytes().to_vec())
    }

    #[test]
    fn what_was_kept_is_found_again_and_keeping_it_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(&dir.path().join("store"));
        let item = members("list");
        store
            .put_many(&[item.clone(), members("other"), item.clone()])
            .unwrap();
        store.put(&item).unwrap();
        assert_eq!(
            store.object(Object::Members, &item.name).unwrap(),
            Some(item.bytes)
        );
        assert_eq!(store.names(Object::Members).unwrap().len(), 2);
        assert_eq!(store.object(Object::Manifest, &item.name).unwrap(), None);
    }

    #[test]
    fn a_changed_object_is_damage_and_keeping_it_again_heals_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let item = members("list");
        store.put(&item).unwrap();
        fs::write(store.path(Object::Members, &item.name), b"lisT").unwrap();
        assert!(matches!(
            store.object(Object::Members, &item.name),
            Err(ShelfError::Damaged(_))
        ));
        store.put(&item).unwrap();
        assert!(store.object(Object::Members, &item.name).unwrap().is_some());
    }

    #[test]
    fn private_records_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let name = Sha256::of(b"manifest");
        store.put(&Item::private(name, b"{}".to_vec())).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.path(Object::Private, &name)), 0o600);
        assert_eq!(mode(&dir.path().join("private")), 0o700);
    }

    #[test]
    fn leftovers_links_and_pipes_are_no_objects() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let item = members("list");
        store.put(&item).unwrap();
        let path = store.path(Object::Members, &item.name);
        fs::write(path.with_file_name(".tmp-1-2-x"), b"half").unwrap();
        assert_eq!(store.names(Object::Members).unwrap(), [item.name]);
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(store.object(Object::Members, &item.name).is_err());
    }
}
