//! The node's transparency log at work in a mount: what is sealed becomes a leaf, an instance's beginning, progress and end too, and others are told
//! of the head. Not how a log is kept: `atlas_manifests::log`. Not what is sealed: the scribe.
//!
//! Whoever signs a second history forks the log. So a disk that is older than anything that remembers it is refused, and a daemon that has lost
//! its log to another one stops.

mod batch;
mod circulation;
mod entry;
mod guard;
mod pace;
mod public;
mod settings;
mod shown;
mod signers;
mod thread;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atlas_manifests::authority::{Authority, InstanceKey};
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::binding::spki_digest;
use atlas_manifests::evidence::{BoundKey, LogHead};
use atlas_manifests::id::{InstanceId, NodeId, RunId, VersionId};
use atlas_manifests::log::append::{AppendError, LogWriter, Signer};
use atlas_manifests::log::find::Finder;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::statement::SetHead;

use self::batch::Batch;
use self::circulation::Circulation;
pub use self::entry::Entry;
use self::pace::Pace;
pub use self::settings::{Public, Settings};
use self::shown::Shown;
pub use self::shown::Standing;
use self::signers::{InstanceSigner, Signers};

/// What could not be logged is tried again after so long, then after twice that ...
const RETRY: Duration = Duration::from_secs(1);
/// ... and at most after so long.
const LONGEST: Duration = Duration::from_secs(30);
/// No more entries go to the writer at once.
const BATCH: usize = 10_000;

/// Where a log lies, and whose it is.
pub struct Ground<'a> {
    /// The log's own directory.
    pub dir: &'a Path,
    /// The same as a person would name it.
    pub named: &'a Path,
    /// Whose log.
    pub node: NodeId,
    /// Who certifies its key.
    pub authority: &'a Authority,
    /// Where that one's key lies, and the log's beside it.
    pub authority_dir: &'a Path,
}

/// The log of one node, open for one life of the daemon.
pub struct Logbook {
    dir: PathBuf,
    origin: String,
    /// As a person would name it.
    named: PathBuf,
    /// Signs from the instance's first leaf on.
    instance: Arc<OnceLock<InstanceSigner>>,
    inner: Mutex<Inner>,
    /// Apart from `inner`, which is held while the disk and the register are waited for: whoever asks for this does not wait for them.
    shown: Mutex<Shown>,
    /// Stored, while somebody waits for the register under `inner`.
    queue: Mutex<Vec<Entry>>,
    bell: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    circulation: Circulation,
    tell: OnceLock<Box<dyn Fn(News) + Send + Sync>>,
}

/// What the engine is told.
#[derive(Debug, Clone)]
pub enum News {
    /// These waited, and are in the log now.
    Logged(Vec<VersionId>),
    /// Nothing may be signed any more: why.
    Refused(String),
}

struct Inner {
    writer: LogWriter,
    instance: Option<InstanceId>,
    /// The instance's manifests in the log, and the number of its next anchor.
    manifests: u64,
    anchors: u64,
    /// The newest evidence.
    evidence: Option<Sha256>,
    /// The inputs of each run as they were logged last.
    runs: HashMap<RunId, SetHead>,
    /// Stored, and not in the log.
    waiting: Vec<Entry>,
    waiting_file: PathBuf,
    /// After a failure nothing is tried before, and how long the wait was.
    not_before: Option<(Instant, Duration)>,
    /// Given to the writer, which will log it before anything else.
    flying: Option<Batch>,
    /// An anchor is due, and is not in the log yet.
    owes_anchor: bool,
    pace: Pace,
    stopping: bool,
    ended: bool,
}

impl Logbook {
    /// Opens the log, or begins it, and finishes what an earlier life left of it. Signs nothing that others could already have seen otherwise.
    ///
    /// # Errors
    /// Why this daemon must not write this log, or cannot, in one line.
    pub fn open(ground: &Ground<'_>, settings: &Settings) -> Result<Arc<Self>, String> {
        let published = guard::published(ground)?;
        let published = published.as_ref();
        let origin = guard::origin(ground, published, settings)?;
        let key = guard::key(ground, published, &origin)?;
        let public = key.verifier_key();
        // Before anything is signed: what an earlier life left unfinished is, when the log is opened.
        let circulation = Circulation::new(ground.dir, &public, settings)?;
        circulation.compare(ground, &origin, published)?;
        signers::publish(ground.dir, &public, key.certificate_pem())
            .map_err(|e| format!("{}: {e}", ground.named.display()))?;
        // As the life before published it: what is finished now is signed without that life's key.
        signers::archive(ground.dir);
        let register = guard::register(ground, published, settings)?;
        let instance = Arc::new(OnceLock::new());
        let wal_key = key.wal_key();
        let signers = Signers {
            node: key,
            instance: Arc::clone(&instance),
        };
        let signers: Vec<Box<dyn Signer>> = vec![Box::new(signers)];
        let writer = LogWriter::open(ground.dir, register, &origin, signers, &wal_key)
            .map_err(|e| guard::unopened(&e, settings))?;
        let waiting_file = ground.dir.join("waiting");
        let waiting =
            entry::load(&waiting_file).map_err(|e| format!("{}: {e}", waiting_file.display()))?;
        let shown = Shown::of(&origin, writer.checkpoint(), &waiting);
        Ok(Arc::new(Self {
            dir: ground.dir.to_owned(),
            origin,
            named: ground.named.to_owned(),
            instance,
            inner: Mutex::new(Inner {
                writer,
                instance: None,
                manifests: 0,
                anchors: 0,
                evidence: None,
                runs: HashMap::new(),
                waiting,
                waiting_file,
                not_before: None,
                flying: None,
                owes_anchor: false,
                pace: Pace::default(),
                stopping: false,
                ended: false,
            }),
            shown: Mutex::new(shown),
            queue: Mutex::default(),
            bell: Condvar::new(),
            thread: Mutex::new(None),
            circulation,
            tell: OnceLock::new(),
        }))
    }

    /// An instance begins: its leaf comes before all that it seals. With hardware, `key` signs checkpoints besides, under its evidence's name.
    ///
    /// # Errors
    /// When the leaf cannot be logged, in one line.
    pub fn begin(
        self: &Arc<Self>,
        instance: InstanceId,
        seal_key: &[u8; 32],
        hardware: Option<(Sha256, Arc<InstanceKey>)>,
    ) -> Result<(), String> {
        let evidence = hardware.as_ref().map(|(evidence, _)| *evidence);
        let log_key = hardware.as_ref().map(|(_, key)| spki_digest(&key.public()));
        let inner = &mut *lock(&self.inner);
        if let Some((evidence, key)) = hardware {
            let signer = InstanceSigner::new(&self.origin, &evidence, key)?;
            signers::add(&self.dir, signer.key()).map_err(|e| e.to_string())?;
            // An instance begins once.
            let _ = self.instance.set(signer);
        }
        inner.instance = Some(instance);
        inner.evidence = evidence;
        let leaf = Leaf::Instance {
            instance,
            evidence,
            seal_key: spki_digest(seal_key),
            log_key,
        };
        self.settle(inner, Some(leaf))?;
        *lock(&self.thread) = Some(self.spawn()?);
        Ok(())
    }

    /// The key that signs for the public log, if there is one.
    pub fn anchor_key(&self) -> Option<BoundKey> {
        self.circulation.anchor_key()
    }

    /// Who is told what happens later. Once.
    pub fn tell(&self, tell: Box<dyn Fn(News) + Send + Sync>) {
        let _ = self.tell.set(tell);
    }

    /// These are stored, in this order. What cannot be logged now waits: no seal is held up by a register that does not answer, but the first.
    pub fn log(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        lock(&self.shown).waits(&entries);
        lock(&self.queue).extend(entries);
        if let Ok(mut inner) = self.inner.try_lock()
            && inner.not_before.is_none_or(|(at, _)| Instant::now() >= at)
        {
            // What went wrong is told by `standing`, and tried again.
            let _ = self.settle(&mut inner, None);
        }
        self.bell.notify_all();
    }

    /// Another quote covers what is logged so far: an anchor with it.
    pub fn anchored(&self, evidence: Sha256) {
        let mut inner = lock(&self.inner);
        inner.evidence = Some(evidence);
        self.anchor(&mut inner, false);
        drop(inner);
        self.bell.notify_all();
    }

    /// Says in the log that something is not to be believed any more.
    ///
    /// # Errors
    /// When it cannot be logged, in one line.
    pub fn revoke(&self, what: Revoked, reason: Reason) -> Result<(), String> {
        let leaf = Leaf::Revocation { what, reason };
        let done = self.settle(&mut lock(&self.inner), Some(leaf));
        self.bell.notify_all();
        done
    }

    /// A run is over: what it had as inputs is not asked for again.
    pub fn forget(&self, run: RunId) {
        lock(&self.inner).runs.remove(&run);
    }

    /// The head as it is now; `None` before the first leaf.
    pub fn head(&self) -> Option<LogHead> {
        let head = lock(&self.shown).head.clone();
        (head.head.size > 0).then_some(head)
    }

    /// The head as it is now, if everything that is stored is below it.
    pub fn head_with_all(&self) -> Option<LogHead> {
        let none_waits = lock(&self.shown).waiting.is_empty();
        self.head().filter(|_| none_waits)
    }

    /// Whether a version is stored and has no place in the log yet.
    pub fn is_waiting(&self, version: VersionId) -> bool {
        lock(&self.shown).waiting.contains(&version)
    }

    /// Whether everything that is stored is in the log.
    pub fn is_settled(&self) -> bool {
        lock(&self.shown).waiting.is_empty()
    }

    /// Why nothing may be signed any more.
    pub fn refusal(&self) -> Option<String> {
        lock(&self.shown).refused.clone()
    }

    /// What a person asks of it.
    pub fn standing(&self) -> Standing {
        lock(&self.shown).standing(self.circulation.standing())
    }

    /// Everything that waits goes into the log, and `leaf` after it.
    fn settle(&self, inner: &mut Inner, leaf: Option<Leaf>) -> Result<(), String> {
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        inner.waiting.append(&mut lock(&self.queue));
        let done = self.commit(inner, leaf);
        if let Some(now) = inner.writer.checkpoint() {
            lock(&self.shown).head = now.head.clone();
        }
        let Err(e) = done else {
            inner.not_before = None;
            if lock(&self.shown).trouble.take().is_some() {
                tracing::info!("the transparency log goes on");
            }
            return Ok(());
        };
        let pause = inner
            .not_before
            .map_or(RETRY, |(_, pause)| (pause * 2).min(LONGEST));
        inner.not_before = Some((Instant::now() + pause, pause));
        let text = format!("the transparency log: {e}");
        let before = lock(&self.shown).trouble.replace(text.clone());
        if before.as_ref() != Some(&text) {
            tracing::error!("{text}");
        }
        let flying = inner.flying.iter_mut().flat_map(|b| &mut b.entries);
        for entry in inner.waiting.iter_mut().chain(flying) {
            entry.waited = true;
        }
        if before.is_none()
            && let Err(e) = entry::save(&inner.waiting_file, &inner.waiting)
        {
            // The journal has them too, but for registrations.
            tracing::error!("{}: {e}", inner.waiting_file.display());
        }
        if matches!(e, AppendError::Lost { .. } | AppendError::Closed(_)) {
            self.refuse(text.clone());
        }
        Err(text)
    }

    fn commit(&self, inner: &mut Inner, mut leaf: Option<Leaf>) -> Result<(), AppendError> {
        if inner.flying.is_some() {
            inner.writer.resume()?;
            self.landed(inner);
        }
        while !inner.waiting.is_empty() || leaf.is_some() {
            let rest = inner.waiting.split_off(inner.waiting.len().min(BATCH));
            let entries = std::mem::replace(&mut inner.waiting, rest);
            let known = self.known(&entries);
            // Last, after all that waited.
            let last = leaf.take_if(|_| inner.waiting.is_empty());
            let batch = Batch::of(entries, &known, last, inner);
            let leaves = batch.leaves.clone();
            inner.flying = Some(batch);
            let done = match leaves.is_empty() {
                true => Ok(()),
                false => inner.writer.append(&leaves).map(|_| ()),
            };
            match done {
                Ok(()) => self.landed(inner),
                Err(e @ AppendError::Pending(_)) => return Err(e),
                Err(e) => {
                    // Nothing of it was done.
                    if let Some(batch) = inner.flying.take() {
                        inner.waiting.splice(0..0, batch.entries);
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// What the writer had is in the log.
    fn landed(&self, inner: &mut Inner) {
        let Some(batch) = inner.flying.take() else {
            return;
        };
        inner.runs.extend(batch.runs);
        inner.manifests += batch.own;
        inner.pace.logged(Instant::now(), batch.leaves.len() as u64);
        if let Some(Leaf::Anchor { seq, .. }) = batch.last {
            inner.anchors = seq + 1;
            inner.owes_anchor = false;
            inner.pace.anchored();
        }
        let waited: Vec<VersionId> = batch
            .entries
            .iter()
            .filter(|e| e.waited)
            .map(|e| e.version)
            .collect();
        if !waited.is_empty()
            && let Err(e) = entry::save(&inner.waiting_file, &inner.waiting)
        {
            // Each is looked for before it is logged again.
            tracing::warn!("{}: {e}", inner.waiting_file.display());
        }
        lock(&self.shown).logged(&batch.entries);
        if let (Some(tell), false) = (self.tell.get(), waited.is_empty()) {
            tell(News::Logged(waited));
        }
    }

    /// Which of these are in the log: only what an earlier life stored can be.
    fn known(&self, entries: &[Entry]) -> Vec<bool> {
        let mut known = vec![false; entries.len()];
        if entries.iter().all(|e| !e.earlier) {
            return known;
        }
        let Ok(log) = LogReader::open(Directory::new(&self.dir)) else {
            return known;
        };
        let finder = Finder::new(&log);
        for (entry, known) in entries.iter().zip(&mut known).filter(|(e, _)| e.earlier) {
            *known = matches!(finder.manifest(&entry.manifest), Ok(Some(_)));
        }
        known
    }

    /// Says how far the instance has come, now or as soon as it can be said.
    fn anchor(&self, inner: &mut Inner, last: bool) {
        let Some(instance) = inner.instance else {
            return;
        };
        inner.owes_anchor = true;
        // What waits is counted only once it is in; and an anchor that was on its way is enough.
        if self.settle(inner, None).is_err() || !inner.owes_anchor {
            return;
        }
        let leaf = Leaf::Anchor {
            instance,
            seq: inner.anchors,
            manifests: inner.manifests,
            evidence: inner.evidence,
            last,
        };
        // What went wrong is told by `standing`, and tried again.
        let _ = self.settle(inner, Some(leaf));
    }

    /// For ever: what is sealed from here on could be part of another history than the one that others have seen.
    fn refuse(&self, why: String) {
        if lock(&self.shown).refused.replace(why.clone()).is_some() {
            return;
        }
        tracing::error!("nothing is sealed any more: {why}");
        if let Some(tell) = self.tell.get() {
            tell(News::Refused(why));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
