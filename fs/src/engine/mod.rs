//! Where requests, digests and seals meet: the ledger decides, and this carries it out. No FUSE, no policy.
//!
//! Locks: `ledger` is held for the length of one pure call and the queueing of its effects, never over a system call.

mod answers;
mod clock;
mod disclosure;
mod ending;
mod evidence;
mod facts;
mod journal;
mod logging;
mod observing;
mod outcomes;
mod parts;
mod recovery;
mod register;
mod rows;
mod scribe;
mod sets;
mod sidecar;
mod statement;
mod status;
mod told;
mod turns;
mod virtuals;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{RunId, VersionId};
use atlas_manifests::index::Index;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::seal::Sealer;
use atlas_manifests::shelf::Object;
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::store::{Item, Store};
use atlas_manifests::vocabulary::{Confined, Hardware};
use dashmap::DashMap;

pub use self::ending::Drained;
use self::facts::FactBook;
pub use self::parts::{StartError, StartOptions};

pub(crate) use self::parts::Work;

use self::journal::{Journal, Record};
use self::register::Digesting;
use self::scribe::Scribe;
use self::statement::Frame;
use self::told::Told;
use self::turns::Turns;
use crate::attest::keeper::Keeper;
use crate::background;
use crate::caller::{Callers, Who};
use crate::config::LiveExclusions;
use crate::digest::{ContentTree, DigestPool, Job, Snapshots};
use crate::ledger::{Effect, Ledger, Ticket};
use crate::logbook::Logbook;
use crate::program::Programs;
use crate::vfs::observer::{Backing, FileKey, HandleId};

/// How long a version that its writer closed may wait for the last reference to go before it is digested as held.
const HOLD: Duration = Duration::from_millis(100);
/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How long the processes of a run that has ended are remembered: its row is in the index by then.
const REMEMBER: Duration = Duration::from_secs(60);
/// How often finished runs are looked for.
const SWEEP: Duration = Duration::from_millis(500);

/// The provenance engine of one mount.
pub struct Engine {
    options: StartOptions,
    mounted_at: String,
    ledger: Mutex<Ledger>,
    callers: Callers,
    backing: Arc<dyn Backing>,
    pool: OnceLock<Arc<DigestPool>>,
    snapshots: Snapshots,
    index: Arc<Index>,
    store: Arc<Store>,
    journal: Journal,
    journaled: Mutex<Told>,
    scribe: Sender<Work>,
    scribe_thread: Mutex<Option<JoinHandle<()>>>,
    ticker: Mutex<Option<JoinHandle<()>>>,
    facts_thread: Mutex<Option<JoinHandle<()>>>,
    stopping: std::sync::atomic::AtomicBool,
    holds: Mutex<Vec<(Instant, Ticket)>>,
    turns: Turns,
    handles: DashMap<HandleId, FileKey>,
    /// Who opened each writable handle.
    openers: DashMap<HandleId, Who>,
    /// Held while the ledger is told of joined runs.
    joining: Mutex<()>,
    /// Runs that have ended, and when that was seen.
    ended: Mutex<Vec<(Instant, RunId)>>,
    /// Inline mode: what passed through of files that are being written.
    trees: DashMap<FileKey, ContentTree>,
    facts: FactBook,
    exclusions: LiveExclusions,
    /// Set while seals wait for the store.
    trouble: Mutex<Option<String>>,
    registrations: Digesting,
    /// The node's transparency log.
    log: Arc<Logbook>,
    /// Hardware evidence, where there is some.
    keeper: Option<Arc<Keeper>>,
    /// Why there is none, when a person should know.
    unattested: Option<String>,
    /// The filesystem's count of requests by the daemon itself.
    own_requests: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Engine {
    /// Starts the engine: keys, index, journal, workers; then finishes what an earlier life left.
    ///
    /// # Errors
    /// When the state cannot be used: damaged index, unreadable key, full disk.
    pub fn start(
        options: StartOptions,
        backing: Arc<dyn Backing>,
    ) -> Result<Arc<Self>, StartError> {
        let fail = |what: &str, e: &dyn std::fmt::Display| StartError(format!("{what}: {e}"));
        let store = Arc::new(Store::open(&options.layout).writing_out(background::write_out));
        let key = InstanceKey::generate().map_err(|e| fail("signing key", &e))?;
        let log = logging::open(&options).map_err(StartError)?;
        let (keeper, untold) = evidence::begin(&options, &key, &store, &log).map_err(StartError)?;
        let evidence = keeper.as_ref().map(|k| k.first());
        let seal_key = key.public();
        let key = options
            .authority
            .certify(key, options.instance, evidence)
            .map_err(|e| fail("authority", &e))?;
        let sealer = Sealer::new(key).map_err(|e| fail("signing key", &e))?;
        let index = Arc::new(
            recovery::index(&options.layout, options.node, &store)
                .map_err(|e| fail("index", &e))?,
        );
        let journals = options.layout.journal(options.node);
        let (records, files) =
            journal::left_behind(&journals, options.instance).map_err(|e| fail("journal", &e))?;
        let next = recovery::next_version(
            index.next_version().map_err(|e| fail("index", &e))?,
            &records,
            options.node,
        );
        let journal =
            Journal::begin(&journals, options.instance).map_err(|e| fail("journal", &e))?;
        let frame = Frame {
            instance: options.instance,
            titles_withheld: options.titles_withheld,
            hardware: keeper.as_ref().map_or(Hardware::None, |k| k.hardware()),
        };
        let (below, names) = (Arc::clone(&backing), Arc::clone(&backing));
        let programs = Programs::new(
            &options.mountpoint,
            Box::new(move |path| below.open_path(path).ok()),
            Box::new(move |ino| names.path_of_number(ino)),
        );
        let below = Arc::clone(&backing);
        let exclusions =
            LiveExclusions::new(options.config.clone(), move |path| below.open_path(path));
        let scribe = Scribe::new(Arc::clone(&index), Arc::clone(&store), sealer, frame);
        let (to_scribe, inbox) = mpsc::channel();
        let engine = Arc::new(Self {
            mounted_at: clock::now(),
            ledger: Mutex::new(Ledger::new(options.node, next)),
            callers: Callers::new(options.instance, options.runs),
            pool: OnceLock::new(),
            snapshots: Snapshots::start(Arc::clone(&backing)),
            backing: Arc::clone(&backing),
            index,
            store,
            journal,
            journaled: Mutex::default(),
            scribe: to_scribe,
            scribe_thread: Mutex::new(None),
            ticker: Mutex::new(None),
            facts_thread: Mutex::new(None),
            stopping: std::sync::atomic::AtomicBool::new(false),
            holds: Mutex::new(Vec::new()),
            turns: Turns::default(),
            handles: DashMap::new(),
            openers: DashMap::new(),
            joining: Mutex::new(()),
            ended: Mutex::new(Vec::new()),
            trees: DashMap::new(),
            facts: FactBook::new(programs),
            exclusions,
            trouble: Mutex::new(None),
            registrations: Digesting::default(),
            own_requests: OnceLock::new(),
            log,
            keeper,
            unattested: untold,
            options,
        });
        let weak = Arc::downgrade(&engine);
        let tell = move |outcome| {
            if let Some(engine) = weak.upgrade() {
                engine.outcome(outcome);
            }
        };
        let pool = DigestPool::start(engine.options.digest_threads, backing, Box::new(tell));
        // The cell was empty: only this function fills it.
        let _ = engine.pool.set(pool);
        let weak = Arc::downgrade(&engine);
        let thread = std::thread::Builder::new()
            .name("atlas-scribe".into())
            .spawn(move || {
                background::give_way();
                // Upgraded once: the engine outlives its scribe, `stop` joins it.
                if let Some(engine) = weak.upgrade() {
                    scribe.work(&engine, &inbox);
                }
            })
            .map_err(|e| fail("scribe thread", &e))?;
        *lock(&engine.scribe_thread) = Some(thread);
        let facts = Arc::clone(&engine);
        let thread = std::thread::Builder::new()
            .name("atlas-facts".into())
            .spawn(move || {
                background::give_way();
                facts.facts.work();
            })
            .map_err(|e| fail("facts thread", &e))?;
        *lock(&engine.facts_thread) = Some(thread);
        let weak = Arc::downgrade(&engine);
        let thread = std::thread::Builder::new()
            .name("atlas-ticker".into())
            .spawn(move || Self::tick(&weak))
            .map_err(|e| fail("ticker thread", &e))?;
        *lock(&engine.ticker) = Some(thread);
        engine.begin_log(&seal_key).map_err(StartError)?;
        engine.recover(records, &files);
        Ok(engine)
    }

    /// Runs one pure step of the ledger and queues what it wants done.
    fn step<T>(&self, step: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = lock(&self.ledger);
        let out = step(&mut ledger);
        for effect in ledger.take_effects() {
            self.queue(effect);
        }
        out
    }

    /// Queues one effect. Called with the ledger locked: memory only.
    fn queue(&self, effect: Effect) {
        let work = match effect {
            Effect::Digest {
                ticket,
                file,
                ended,
                expect,
            } => {
                let tree = if ended {
                    self.trees.remove(&file).map(|(_, t)| t)
                } else {
                    None
                };
                if let Some(pool) = self.pool.get() {
                    pool.submit(Job {
                        ticket: ticket.0,
                        file,
                        ended,
                        tree,
                        expect,
                        snapshot: None,
                    });
                }
                return;
            }
            Effect::Hold { ticket } => {
                lock(&self.holds).push((Instant::now() + HOLD, ticket));
                return;
            }
            Effect::Used(raw) => {
                self.journal.push(&Record::Used(*raw));
                return;
            }
            Effect::Ended(row) => {
                let mut journaled = lock(&self.journaled);
                let run = row.run.and_then(|r| journaled.news(&self.callers, r));
                self.journal.push(&Record::Ended { row: *row, run });
                return;
            }
            Effect::Moved(place) => {
                self.journal.push(&Record::Moved(*place));
                return;
            }
            Effect::Withdrawn(version) => {
                self.journal.push(&Record::Withdrawn { version });
                return;
            }
            Effect::Version(row) => Work::Version(row),
            Effect::Use(row) => Work::Use(row),
            Effect::Seal(plan) => Work::Seal(plan),
        };
        // The scribe ends only after `stop`; what comes later is in the journal.
        let _ = self.scribe.send(work);
    }

    /// What is queued for the journal goes to the file before a job is told that close(2) worked.
    fn settle_journal(&self) {
        if let Err(e) = self.journal.flush() {
            self.storing(Some(format!("the journal cannot be written: {e}")));
        }
    }

    fn tick(engine: &Weak<Self>) {
        let mut swept = Instant::now();
        while let Some(engine) = engine.upgrade() {
            if engine.stopping.load(Ordering::Acquire) {
                return;
            }
            engine.expire_holds();
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                engine.sweep();
            }
            drop(engine);
            std::thread::sleep(TICK);
        }
    }

    fn expire_holds(&self) {
        let now = Instant::now();
        let mut due = Vec::new();
        lock(&self.holds).retain(|(at, ticket)| {
            let wait = *at > now;
            if !wait {
                due.push(*ticket);
            }
            wait
        });
        for ticket in due {
            self.step(|l| l.still_held(ticket));
        }
    }

    fn sweep(&self) {
        let ended = self.callers.sweep();
        for run in &ended {
            let _ = self.scribe.send(Work::Run(*run));
        }
        let mut waiting = lock(&self.ended);
        waiting.extend(ended.into_iter().map(|run| (Instant::now(), run)));
        let ledger = lock(&self.ledger);
        let forgotten = waiting.extract_if(.., |(at, run)| {
            at.elapsed() >= REMEMBER && !ledger.busy(*run)
        });
        let forgotten: Vec<RunId> = forgotten.map(|(_, run)| run).collect();
        drop(ledger);
        for run in forgotten {
            self.callers.forget(run);
            self.facts.forget(run);
            lock(&self.journaled).forget(run);
            let _ = self.scribe.send(Work::Over(run));
            self.step(|l| l.forget_run(run));
        }
        self.step(Ledger::beat);
        self.turns.sweep();
        self.settle_journal();
    }

    pub(crate) fn journal(&self, record: &Record) {
        self.journal.push(record);
    }

    pub(crate) fn sealed(&self, ticket: Ticket, manifest: ManifestRef) {
        self.step(|l| l.sealed(ticket, manifest));
    }

    pub(crate) fn unsealable(&self, ticket: Ticket, why: String) {
        self.step(|l| l.unsealable(ticket, why));
    }

    /// A function of its own, so that the ledger is free again before anybody waits for the seal: whoever seals needs it.
    fn reserve(&self) -> VersionId {
        lock(&self.ledger).reserve()
    }

    /// Beside a mount that does not cover SOURCE, everybody can reach the backing files.
    pub(crate) fn confined(&self, said: Confined) -> Confined {
        if self.options.in_place || said == Confined::Root {
            said
        } else {
            Confined::Open
        }
    }

    /// `--sidecar`: the manifest also goes beside its file. The store has it in any case.
    pub(crate) fn beside(&self, row: &VersionRow, objects: &[Item]) {
        let Some(source) = &self.options.sidecars else {
            return;
        };
        let manifest = objects.iter().find(|o| o.object == Object::Manifest);
        let (Some(manifest), Some(path), None) = (manifest, &row.path, row.members) else {
            return;
        };
        if let Err(e) = sidecar::write(source, path, &manifest.bytes) {
            tracing::warn!(error = %e, "no sidecar for {}", path.lossy().escape_debug());
        }
    }

    /// Digest of the configuration that was in force for a file.
    pub(crate) fn config_digest(
        &self,
        path: Option<&PathBytes>,
    ) -> atlas_manifests::digest::Sha256 {
        self.exclusions
            .digest(path.map_or(std::path::Path::new(""), PathBytes::as_path))
    }

    /// Notes that seals wait, or no longer do.
    pub(crate) fn storing(&self, trouble: Option<String>) {
        let mut now = lock(&self.trouble);
        match (&*now, &trouble) {
            (None, Some(text)) => tracing::error!("{text}"),
            (Some(_), None) => tracing::info!("seals go on"),
            _ => {}
        }
        *now = trouble;
    }

    /// What the index says, live.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How to learn of requests that the daemon made to its own mount.
    pub fn count_own_requests(&self, count: Box<dyn Fn() -> u64 + Send + Sync>) {
        // Told once, by whoever mounts.
        let _ = self.own_requests.set(count);
    }

    /// Versions sealed by this life.
    pub fn sealed_so_far(&self) -> u64 {
        lock(&self.ledger).counts().sealed
    }

    /// Versions that ended and are not settled.
    pub fn pending(&self) -> u64 {
        lock(&self.ledger).counts().pending
    }

    /// Who holds files open for writing: names below SOURCE and process ids.
    pub fn writers(&self) -> Vec<(PathBytes, i32)> {
        lock(&self.ledger).writers()
    }

    fn pool(&self) -> Option<&Arc<DigestPool>> {
        self.pool.get()
    }
}

/// A lock whose holder panicked still guards consistent data here: every step is pure until its end.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
