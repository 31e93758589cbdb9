//! How the index learns: batches of rows, renames, removals, and version numbers. Not where the rows come from.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use redb::{Durability, ReadableTable as _, Table, WriteTransaction};
use serde::Serialize;

use super::read::{check, get, keys, parse};
use super::{
    BLAKE3, Batch, Db, IDENTITIES, Index, IndexError, META, PATHS, PRESENT, PROCESSES, RUNS,
    SHA256, SYNC_EVERY, USERS, USES, VERSIONS, WRITTEN, Writer, damaged, guarded, key,
};
use crate::bytes::PathBytes;
use crate::id::NodeRef;
use crate::rows::{RunRow, UseRow, VersionRow};

/// What the tables mean; an index of another meaning is rebuilt, not read.
const FORMAT: u64 = 2;
/// Without `PRESENT`, and with a run's processes in its row.
const BEFORE: u64 = 1;
/// Version numbers are reserved durably in blocks of this many, so that no crash gives one out twice.
const BLOCK: u64 = 4096;
type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
type Keys<'txn> = Table<'txn, &'static [u8], ()>;

impl Index {
    /// Writes all rows of the batch, or none. They are visible when this returns and durable at the next `sync`.
    pub fn write(&self, batch: &Batch) -> Result<(), IndexError> {
        self.change(false, |tables| {
            for row in &batch.versions {
                tables.put_version(row)?;
            }
            for row in &batch.uses {
                tables.put_use(row)?;
            }
            for row in &batch.runs {
                tables.put_run(row)?;
            }
            Ok(())
        })
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), IndexError> {
        self.change(true, |_| Ok(()))
    }

    /// Gives out a version number that was never given out before, whatever crashed in between.
    pub fn next_version(&self) -> Result<u64, IndexError> {
        let mut writer = self.writer();
        if writer.next == writer.reserved {
            let reserved = writer.reserved + BLOCK;
            self.change_locked(&mut writer, true, |tables| {
                tables.meta.insert("reserved", reserved)?;
                Ok(())
            })?;
            writer.reserved = reserved;
        }
        let n = writer.next;
        writer.next += 1;
        Ok(n)
    }

    /// A file or directory has moved: its versions, and those of everything below it, go along. What was at the target is gone.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), IndexError> {
        let (from, to) = (PathBytes::from(from), PathBytes::from(to));
        if from == to {
            return Ok(());
        }
        self.change(false, |tables| {
            let moving = tables.present(&from)?;
            // A rename over a hard link of the same file moves nothing on disk, but the caller would not have asked then.
            for mut row in tables.present(&to)? {
                row.gone = true;
                tables.put_version(&row)?;
            }
            for row in moving {
                tables.put_version(&moved(row, &from, &to))?;
            }
            Ok(())
        })
    }

    /// Two files or directories have changed places.
    pub fn exchange(&self, a: &Path, b: &Path) -> Result<(), IndexError> {
        let (a, b) = (PathBytes::from(a), PathBytes::from(b));
        self.change(false, |tables| {
            let (at_a, at_b) = (tables.present(&a)?, tables.present(&b)?);
            for row in at_a {
                tables.put_version(&moved(row, &a, &b))?;
            }
            for row in at_b {
                tables.put_version(&moved(row, &b, &a))?;
            }
            Ok(())
        })
    }

    /// The file at this path, or everything below it, was removed. Its versions are kept.
    pub fn gone(&self, path: &Path) -> Result<(), IndexError> {
        let path = PathBytes::from(path);
        self.change(false, |tables| {
            for mut row in tables.present(&path)? {
                row.gone = true;
                tables.put_version(&row)?;
            }
            Ok(())
        })
    }

    /// Makes the tables, and finds out where the numbers go on.
    pub(super) fn prepare(&self) -> Result<(), IndexError> {
        let mut format = FORMAT;
        let mut reserved = 1;
        self.change(false, |tables| {
            format = tables.meta.get("format")?.map_or(FORMAT, |v| v.value());
            reserved = tables.meta.get("reserved")?.map_or(1, |v| v.value());
            if format == BEFORE {
                tables.bring_up_to_date()?;
                format = FORMAT;
            }
            tables.meta.insert("format", format)?;
            Ok(())
        })?;
        if format != FORMAT {
            return Err(damaged(
                &self.path,
                &format!("its format {format} is not {FORMAT}"),
            ));
        }
        let mut writer = self.writer();
        writer.next = reserved;
        writer.reserved = reserved;
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic inside a write leaves the transaction uncommitted and these counters as they were before it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(
        &self,
        durable: bool,
        body: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        self.change_locked(&mut self.writer(), durable, body)
    }

    fn change_locked(
        &self,
        writer: &mut Writer,
        durable: bool,
        body: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Db::Writable(db)) = &*db else {
            return Err(IndexError::ReadOnly(self.path.clone()));
        };
        let durable = durable || writer.unsynced + 1 >= SYNC_EVERY;
        guarded(&self.path, || {
            let mut txn = db.begin_write()?;
            txn.set_durability(if durable {
                Durability::Immediate
            } else {
                Durability::None
            })?;
            // After a crash the next open reads the saved allocator state instead of walking the whole file.
            txn.set_quick_repair(durable);
            {
                let mut tables = Tables::open(&txn)?;
                body(&mut tables)?;
            }
            Ok(txn.commit()?)
        })?;
        writer.unsynced = if durable { 0 } else { writer.unsynced + 1 };
        Ok(())
    }
}

pub(super) struct Tables<'txn> {
    pub(super) meta: Table<'txn, &'static str, u64>,
    versions: Rows<'txn>,
    paths: Keys<'txn>,
    pub(super) present: Keys<'txn>,
    blake3: Keys<'txn>,
    sha256: Keys<'txn>,
    runs: Rows<'txn>,
    processes: Rows<'txn>,
    written: Keys<'txn>,
    uses: Rows<'txn>,
    users: Keys<'txn>,
    identities: Rows<'txn>,
}

impl<'txn> Tables<'txn> {
    fn open(txn: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            meta: txn.open_table(META)?,
            versions: txn.open_table(VERSIONS)?,
            paths: txn.open_table(PATHS)?,
            present: txn.open_table(PRESENT)?,
            blake3: txn.open_table(BLAKE3)?,
            sha256: txn.open_table(SHA256)?,
            runs: txn.open_table(RUNS)?,
            processes: txn.open_table(PROCESSES)?,
            written: txn.open_table(WRITTEN)?,
            uses: txn.open_table(USES)?,
            users: txn.open_table(USERS)?,
            identities: txn.open_table(IDENTITIES)?,
        })
    }

    fn put_version(&mut self, row: &VersionRow) -> Result<(), redb::Error> {
        let node = key::node(row.node);
        if let Some(old) = get::<VersionRow>(&self.versions, &node)? {
            self.unlink(&old)?;
        }
        if let Some(path) = &row.path {
            let k = key::path(path, row.node);
            self.paths.insert(&*k, ())?;
            if !row.gone {
                self.present.insert(&*k, ())?;
            }
        }
        if let Some(d) = &row.digests {
            self.blake3
                .insert(&*key::digest(&d.blake3.0, row.node), ())?;
            self.sha256
                .insert(&*key::digest(&d.sha256.0, row.node), ())?;
        }
        if let Some(run) = row.run {
            self.written.insert(&*key::written(run, row.node), ())?;
        }
        if let Some(identity) = &row.identity {
            self.identities.insert(&*key::identity(identity), &*node)?;
        }
        self.versions.insert(&*node, &*json(row)?)?;
        Ok(())
    }

    /// Takes away the names of a row that is about to be replaced.
    fn unlink(&mut self, old: &VersionRow) -> Result<(), redb::Error> {
        if let Some(path) = &old.path {
            let k = key::path(path, old.node);
            self.paths.remove(&*k)?;
            self.present.remove(&*k)?;
        }
        if let Some(d) = &old.digests {
            self.blake3.remove(&*key::digest(&d.blake3.0, old.node))?;
            self.sha256.remove(&*key::digest(&d.sha256.0, old.node))?;
        }
        if let Some(run) = old.run {
            self.written.remove(&*key::written(run, old.node))?;
        }
        if let Some(identity) = &old.identity {
            let k = key::identity(identity);
            let ours = self
                .identities
                .get(&*k)?
                .is_some_and(|n| n.value() == key::node(old.node));
            if ours {
                self.identities.remove(&*k)?;
            }
        }
        Ok(())
    }

    fn put_use(&mut self, row: &UseRow) -> Result<(), redb::Error> {
        let k = key::of_use(row.run, row.order);
        if let Some(old) = get::<UseRow>(&self.uses, &k)? {
            self.users
                .remove(&*key::user(old.node, old.run, old.order))?;
        }
        self.users
            .insert(&*key::user(row.node, row.run, row.order), ())?;
        self.uses.insert(&k[..], &*json(row)?)?;
        Ok(())
    }

    fn put_run(&mut self, row: &RunRow) -> Result<(), redb::Error> {
        for p in &row.processes {
            let k = key::process(row.id, p.number);
            self.processes.insert(&k[..], &*json(p)?)?;
        }
        let head = RunRow {
            processes: Vec::new(),
            ..row.clone()
        };
        self.runs.insert(&key::run(row.id)[..], &*json(&head)?)?;
        Ok(())
    }

    /// The versions at this path and below it that are not gone.
    fn present(&self, path: &PathBytes) -> Result<Vec<VersionRow>, redb::Error> {
        let node = |k: &[u8]| key::parse_path(k).map(|(_, node)| node);
        let mut nodes: Vec<NodeRef> = Vec::new();
        for end in [0, b'/'] {
            nodes.extend(keys(&self.present, &[&path.0[..], &[end]].concat(), node)?);
        }
        let mut rows = Vec::with_capacity(nodes.len());
        for n in nodes {
            rows.extend(get::<VersionRow>(&self.versions, &key::node(n))?);
        }
        Ok(rows)
    }

    /// Makes what an index of the format before has not.
    fn bring_up_to_date(&mut self) -> Result<(), redb::Error> {
        for entry in self.versions.iter()? {
            // A row that cannot be read is refused when somebody asks for it.
            let row: Option<VersionRow> = parse(entry?.1.value()).ok();
            if let Some(row) = row.filter(|r| !r.gone)
                && let Some(path) = row.path
            {
                self.present.insert(&*key::path(&path, row.node), ())?;
            }
        }
        let runs: Vec<RunRow> = self
            .runs
            .iter()?
            .filter_map(|entry| parse(entry.ok()?.1.value()).ok())
            .collect();
        runs.iter().try_for_each(|row| self.put_run(row))
    }
}

fn moved(mut row: VersionRow, from: &PathBytes, to: &PathBytes) -> VersionRow {
    row.path = row.path.map(|p| match p.0.strip_prefix(&from.0[..]) {
        Some(rest) => PathBytes([&to.0[..], rest].concat()),
        None => p,
    });
    row
}

fn json(row: &impl Serialize) -> Result<Vec<u8>, redb::Error> {
    let text = serde_json::to_vec(row).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
    Ok([&check(&text)[..], &text].concat())
}
