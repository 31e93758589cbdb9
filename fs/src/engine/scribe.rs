//! The one thread that writes: rows into the index, and statements into signed, durable manifests, in the ledger's order.
//!
//! Work that has piled up is committed together: one sync of the store and one index transaction for all of it. A seal reads
//! `sealed` only after its manifest is on disk; one that cannot be written (no space) waits here and is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Sha256;
use atlas_manifests::id::{InstanceId, NodeRef, RunId, VersionId};
use atlas_manifests::index::{Batch, Index};
use atlas_manifests::private::PrivateRecord;
use atlas_manifests::read::peek;
use atlas_manifests::rows::{RunRow, VersionRow};
use atlas_manifests::scan::StoreScan;
use atlas_manifests::seal::Sealer;
use atlas_manifests::shelf::{Object, Shelf as _};
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::store::{Item, Store};
use atlas_manifests::vocabulary::State;

use super::clock::now;
use super::evidence;
use super::journal::Record;
use super::logging;
use super::register::Registration;
use super::rows::{Rows, completed};
use super::sets::Sets;
use super::statement::{Frame, Worded, registered, state};
use super::told::Told;
use super::{Engine, Work};
use crate::descriptors;
use crate::ledger::{Plan, Ticket};

/// Work committed together at most.
const BATCH: usize = 512;
/// How long a seal that could not be written waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long index rows may stay in memory only.
const SYNC: Duration = Duration::from_secs(2);

/// The scribe's own state: nobody else sees it, so nothing here is locked.
pub(super) struct Scribe {
    pub(super) index: Arc<Index>,
    pub(super) store: Arc<Store>,
    pub(super) sealer: Sealer,
    pub(super) frame: Frame,
    sets: Sets,
    /// Of earlier lives.
    runs: HashMap<RunId, RunRow>,
    /// What the index has of each run, and what private records have.
    indexed: Told,
    recorded: Told,
    parked: Vec<Signed>,
    /// In the log, and the ledger has not told yet that they are sealed: until then it may tell of them as if they were not.
    landed: HashMap<VersionId, Sha256>,
    /// Segments of versions that could not be signed: later ones of their runs commit to them all the same.
    segments: Vec<Item>,
    unsynced: bool,
    synced: Instant,
}

/// A manifest that is signed and not stored yet.
pub(super) struct Signed {
    pub(super) ticket: Option<Ticket>,
    pub(super) version: VersionId,
    pub(super) reference: ManifestRef,
    /// Whose signature it is.
    pub(super) instance: InstanceId,
    pub(super) row: VersionRow,
    pub(super) objects: Vec<Item>,
    pub(super) registration: Option<Arc<Registration>>,
}

impl Scribe {
    pub(super) fn new(index: Arc<Index>, store: Arc<Store>, sealer: Sealer, frame: Frame) -> Self {
        Self {
            index,
            store,
            sealer,
            frame,
            sets: Sets::default(),
            runs: HashMap::new(),
            indexed: Told::default(),
            recorded: Told::default(),
            parked: Vec::new(),
            landed: HashMap::new(),
            segments: Vec::new(),
            unsynced: false,
            synced: Instant::now(),
        }
    }

    /// Works until told to stop or until nobody is left to tell it anything.
    pub(super) fn work(mut self, engine: &Engine, inbox: &Receiver<Work>) {
        let mut retry_at: Option<Instant> = None;
        loop {
            let patience = if self.parked.is_empty() && !self.unsynced {
                Duration::from_secs(3600)
            } else {
                RETRY
            };
            let mut work = match inbox.recv_timeout(patience) {
                Ok(first) => vec![first],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while work.len() < BATCH
                && let Ok(more) = inbox.try_recv()
            {
                work.push(more);
            }
            let due = retry_at.is_none_or(|at| Instant::now() >= at);
            let mut signed = if due {
                std::mem::take(&mut self.parked)
            } else {
                Vec::new()
            };
            let stop = self.round(engine, work, &mut signed);
            self.settle_index(engine, stop);
            retry_at = (!self.parked.is_empty()).then(|| Instant::now() + RETRY);
            if stop {
                return;
            }
        }
    }

    /// The index is a cache, but rebuilding it costs; and journals are only removed once it is on disk.
    fn settle_index(&mut self, engine: &Engine, now: bool) {
        if !self.unsynced || (!now && self.synced.elapsed() < SYNC) {
            return;
        }
        match self.index.sync() {
            Ok(()) => self.unsynced = false,
            Err(e) => engine.storing(Some(format!("the index cannot be written: {e}"))),
        }
        self.synced = Instant::now();
    }

    fn round(&mut self, engine: &Engine, work: Vec<Work>, signed: &mut Vec<Signed>) -> bool {
        let mut rows = Rows::default();
        let mut waiting = Vec::new();
        let mut stop = false;
        for item in work {
            match item {
                Work::Version(row) => rows.version(*row),
                Work::Use(row) => {
                    rows.runs.insert(row.run);
                    rows.uses.push(row);
                }
                Work::Run(run) => {
                    rows.runs.insert(run);
                }
                Work::Restored(row) => {
                    self.runs.insert(row.id, *row);
                }
                Work::Over(run) => {
                    engine.log.forget(run);
                    self.sets.forget(run);
                    self.indexed.forget(run);
                    self.recorded.forget(run);
                }
                Work::Renamed(from, to) => {
                    // Rows so far were made under the old name.
                    self.write_rows(engine, std::mem::take(&mut rows));
                    self.rename(&from, &to);
                }
                Work::Exchanged(a, b) => {
                    self.write_rows(engine, std::mem::take(&mut rows));
                    self.exchange(&a, &b);
                }
                Work::Gone(path) => {
                    self.write_rows(engine, std::mem::take(&mut rows));
                    self.forget(&path);
                }
                // The mount ends: the next one makes its quote, and seals it.
                Work::Seal(plan) if evidence::postponed(engine, plan.row.path.as_ref()) => {}
                // Nothing may be signed any more: what ended stays in the journal.
                Work::Seal(_) if engine.log.refusal().is_some() => {}
                Work::Seal(plan) => match self.sign(engine, &plan) {
                    Ok(s) => {
                        rows.runs.insert(plan.run);
                        signed.push(s);
                    }
                    Err(why) => {
                        tracing::error!(version = %plan.version, why, "cannot seal");
                        let id = engine.callers.row_id(plan.run);
                        self.recorded.forget(id.unwrap_or(plan.run));
                        engine.unsealable(plan.ticket, why);
                    }
                },
                Work::Register(registration) => {
                    let refused = engine.log.refusal().map_or(Ok(()), Err);
                    match refused.and_then(|()| self.sign_registration(engine, &registration)) {
                        Ok(s) => signed.push(s),
                        Err(why) => registration.answer(Err(why)),
                    }
                }
                Work::Logged(versions) => {
                    let late = logging::late(&self.index, &versions);
                    for row in late {
                        logging::settled(engine, &row);
                        rows.version(row);
                    }
                }
                Work::Sync(tell) => waiting.push(tell),
                Work::Stop => stop = true,
            }
        }
        let mut stored = self.store(engine, signed);
        logging::stored(engine, &mut stored);
        let landed = stored.iter().filter(|s| s.ticket.is_some());
        let landed = landed.filter(|s| s.row.state == State::Logged);
        self.landed
            .extend(landed.map(|s| (s.version, s.reference.sha256)));
        for s in &stored {
            rows.version(s.row.clone());
        }
        self.write_rows(engine, rows);
        // What waits for the log is the next mount's to log, if this one ends before.
        for s in stored.iter().filter(|s| s.row.state == State::Logged) {
            engine.journal(&Record::Settled {
                version: s.version,
                manifest: s.reference.sha256,
            });
        }
        if !stored.is_empty() {
            engine.settle_journal();
        }
        evidence::sealed(engine, &stored);
        for s in stored {
            engine.beside(&s.row, &s.objects);
            if let Some(ticket) = s.ticket {
                engine.sealed(ticket, s.reference);
            }
            if let Some(registration) = s.registration {
                registration.answer(Ok(s.row));
            }
        }
        for tell in waiting {
            // Whoever asked may have gone.
            let _ = tell.send(());
        }
        stop
    }

    fn sign(&mut self, engine: &Engine, plan: &Plan) -> Result<Signed, String> {
        if self.runs.contains_key(&plan.run)
            && let Some(signed) = self.stored_before(plan)
        {
            return Ok(signed);
        }
        let (head, segment) = self.sets.commit(plan.run, plan.leaves.clone(), plan.cut);
        self.segments
            .extend(segment.map(|(root, bytes)| Item::inputs(root, bytes)));
        let facts = engine.facts.of(plan.run, plan.row.process);
        let run = self
            .recorded
            .with_own(engine, &self.runs, plan.run, plan.row.process)
            .map(|row| Self::with_facts(engine, plan.run, row))
            .ok_or_else(|| format!("nothing is known of {}", plan.run))?;
        let sealed_at = now();
        let Some(Worded {
            mut statement,
            fields,
        }) = state(
            &self.frame,
            plan,
            head,
            &run,
            &facts,
            engine.config_digest(plan.row.path.as_ref()),
            &sealed_at,
        )
        .map_err(|e| e.to_string())?
        else {
            return Err("it was never digested".to_owned());
        };
        evidence::own_quote(engine, &self.sealer, &mut statement, plan.row.path.as_ref());
        let sealed = self.sealer.seal(&statement).map_err(|e| e.to_string())?;
        let mut row = plan.row.clone();
        row.state = State::Sealed;
        row.manifest = Some(sealed.reference);
        row.input_set = Some(head);
        row.sealed_at = Some(sealed_at);
        let record = PrivateRecord {
            manifest: sealed.reference.sha256,
            fields,
            row: row.clone(),
            run: Some(run),
        };
        let mut objects = std::mem::take(&mut self.segments);
        objects.push(Item::private(sealed.reference.sha256, record.encode()));
        // Last: whoever finds the manifest finds what it commits to.
        objects.push(Item::manifest(&sealed, &statement));
        Ok(Signed {
            ticket: Some(plan.ticket),
            version: plan.version,
            reference: sealed.reference,
            instance: self.frame.instance,
            row,
            objects,
            registration: None,
        })
    }

    /// A version of an earlier life whose manifest reached the store and whose journal does not say so: it is not signed twice.
    fn stored_before(&self, plan: &Plan) -> Option<Signed> {
        let digests = plan.row.digests?;
        let node = NodeRef::Version(plan.version);
        let manifests = self.store.manifests_of(&digests).ok()?;
        let (versions, _, _) = StoreScan::of(&*self.store, &manifests).ok()?.into_rows();
        let row = versions
            .into_iter()
            .find(|r| r.node == node && r.digests == Some(digests))?;
        let reference = row.manifest?;
        let bytes = self
            .store
            .object(Object::Manifest, &reference.sha256)
            .ok()??;
        Some(Signed {
            ticket: Some(plan.ticket),
            version: plan.version,
            reference,
            instance: peek(&bytes).ok()?.instance,
            row: VersionRow {
                path: plan.row.path.clone(),
                identity: plan.row.identity,
                ..row
            },
            objects: Vec::new(),
            registration: None,
        })
    }

    fn sign_registration(&self, engine: &Engine, r: &Arc<Registration>) -> Result<Signed, String> {
        let sealed_at = now();
        let config = engine.config_digest(Some(&r.path));
        let Worded {
            mut statement,
            fields,
        } = registered(&self.frame, r, config, &sealed_at).map_err(|e| e.to_string())?;
        evidence::own_quote(engine, &self.sealer, &mut statement, Some(&r.path));
        let sealed = self.sealer.seal(&statement).map_err(|e| e.to_string())?;
        let row = VersionRow {
            node: NodeRef::Version(r.version),
            path: Some(r.path.clone()),
            title: None,
            gone: false,
            digests: Some(r.digests),
            state: State::Sealed,
            reason: None,
            closed: None,
            status: None,
            quiet: Some(r.quiet),
            cut: None,
            run: None,
            process: 0,
            tree: 0,
            inputs: 0,
            parent: None,
            copied: Vec::new(),
            ephemeral: false,
            manifest: Some(sealed.reference),
            input_set: Some(statement.input_set),
            members: statement.members,
            media_type: Some(r.media_type.clone()),
            ended_at: None,
            sealed_at: Some(sealed_at),
            identity: r.identity,
        };
        let record = PrivateRecord {
            manifest: sealed.reference.sha256,
            fields,
            row: row.clone(),
            run: None,
        };
        let mut objects = Vec::new();
        if let Some(members) = &r.members {
            objects.push(Item::members(members.encode()));
        }
        objects.push(Item::private(sealed.reference.sha256, record.encode()));
        objects.push(Item::manifest(&sealed, &statement));
        Ok(Signed {
            ticket: None,
            version: r.version,
            reference: sealed.reference,
            instance: self.frame.instance,
            row,
            objects,
            registration: Some(Arc::clone(r)),
        })
    }

    /// Puts everything on disk with one sync, if there are descriptors enough. What cannot be stored is parked, and nobody is told that it is sealed.
    fn store(&mut self, engine: &Engine, signed: &mut Vec<Signed>) -> Vec<Signed> {
        if signed.is_empty() {
            return Vec::new();
        }
        let objects: Vec<Item> = signed
            .iter()
            .flat_map(|s| s.objects.iter().cloned())
            .collect();
        // In order: what a manifest commits to comes before it.
        let mut parts = objects.chunks(descriptors::for_seals());
        match parts.try_for_each(|part| self.store.put_many(part)) {
            Ok(()) => {
                engine.storing(None);
                std::mem::take(signed)
            }
            Err(e) => {
                engine.storing(Some(format!("{} seals wait: {e}", signed.len())));
                self.parked.append(signed);
                Vec::new()
            }
        }
    }

    fn with_facts(engine: &Engine, run: RunId, mut row: RunRow) -> RunRow {
        let facts = engine.facts.of(run, 0);
        row.git = row.git.or_else(|| facts.git.clone());
        row.python = row
            .python
            .or_else(|| facts.python.as_ref().map(|(p, _)| p.clone()));
        row.script = row.script.or_else(|| facts.script.clone());
        row.confined = engine.confined(row.confined);
        row
    }

    fn write_rows(&mut self, engine: &Engine, rows: Rows) {
        let indexed = &mut self.indexed;
        let row = |r: &RunId| {
            Some(Self::with_facts(
                engine,
                *r,
                indexed.of(engine, &self.runs, *r)?,
            ))
        };
        let runs: Vec<RunRow> = rows.runs.iter().filter_map(row).collect();
        let versions = rows
            .versions
            .into_iter()
            .map(|row| completed(&self.index, &mut self.landed, row))
            .collect();
        let batch = Batch {
            versions,
            uses: rows.uses,
            runs,
        };
        if batch.versions.is_empty() && batch.uses.is_empty() && batch.runs.is_empty() {
            return;
        }
        self.unsynced = true;
        if let Err(e) = self.index.write(&batch) {
            batch.runs.iter().for_each(|r| self.indexed.forget(r.id));
            engine.storing(Some(format!("the index cannot be written: {e}")));
        }
    }

    fn exchange(&self, a: &PathBytes, b: &PathBytes) {
        if let Err(e) = self.index.exchange(a.as_path(), b.as_path()) {
            tracing::warn!(error = %e, "the index did not follow an exchange of names");
        }
    }

    fn forget(&self, path: &PathBytes) {
        if let Err(e) = self.index.gone(path.as_path()) {
            tracing::warn!(error = %e, "the index did not follow a deletion");
        }
    }

    fn rename(&self, from: &PathBytes, to: &PathBytes) {
        if let Err(e) = self.index.rename(from.as_path(), to.as_path()) {
            tracing::warn!(error = %e, "the index did not follow a rename");
        }
    }
}
