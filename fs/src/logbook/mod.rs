//! The node's transparency log at work in a mount: what is sealed becomes a leaf, an instance's beginning, progress and end too, and others are told
//! of the head. Not how a log is kept: `atlas_manifests::log`. Not what is sealed: the scribe.
//!
//! Whoever signs a second history forks the log. So a disk that is older than anything that remembers it is refused, and a daemon that has lost
//! its log to another one stops.

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
use std::time::Instant;

use atlas_manifests::authority::{Authority, InstanceKey};
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::{LogHead, spki_digest};
use atlas_manifests::id::{InstanceId, NodeId, RunId, VersionId};
use atlas_manifests::log::append::{AppendError, LogWriter};
use atlas_manifests::log::find::Finder;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::log::operator::LogKey;
use atlas_manifests::statement::SetHead;

use self::circulation::Circulation;
pub use self::entry::Entry;
use self::pace::Pace;
pub use self::settings::{Public, Settings};
use self::shown::Shown;
pub use self::shown::Standing;
use self::signers::{InstanceSigner, NodeSigner};

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
    memory: guard::Memory,
    inner: Mutex<Inner>,
    /// Apart from `inner`, which is held while the disk and the register are waited for: whoever asks for this does not wait for them.
    shown: Mutex<Shown>,
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
    /// An anchor is due, and could not be logged yet.
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
        let origin = guard::origin(ground.dir, ground.node, settings)?;
        let key =
            LogKey::open_or_create(ground.authority, ground.authority_dir, ground.node, &origin)
                .map_err(|e| e.to_string())?;
        let public = key.verifier_key();
        signers::publish(ground.dir, &public, key.certificate_pem())
            .map_err(|e| format!("{}: {e}", ground.named.display()))?;
        let register = guard::register(ground.dir, settings)?;
        let memory = guard::Memory::of(ground.authority_dir, ground.node, public.clone());
        let writer = LogWriter::open(
            ground.dir,
            register,
            &origin,
            vec![Box::new(NodeSigner(key))],
        )
        .map_err(|e| e.to_string())?;
        let circulation = Circulation::new(&public, settings)?;
        memory.compare(ground, writer.checkpoint())?;
        circulation.compare(ground, writer.checkpoint())?;
        memory.keep(writer.checkpoint());
        let waiting_file = ground.dir.join("waiting");
        let waiting =
            entry::load(&waiting_file).map_err(|e| format!("{}: {e}", waiting_file.display()))?;
        let shown = Shown::of(writer.checkpoint().head.clone(), &waiting);
        Ok(Arc::new(Self {
            dir: ground.dir.to_owned(),
            origin,
            memory,
            inner: Mutex::new(Inner {
                writer,
                instance: None,
                manifests: 0,
                anchors: 0,
                evidence: None,
                runs: HashMap::new(),
                waiting,
                waiting_file,
                owes_anchor: false,
                pace: Pace::default(),
                stopping: false,
                ended: false,
            }),
            shown: Mutex::new(shown),
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
            inner.writer.add_signer(Box::new(signer));
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

    /// Who is told what happens later. Once.
    pub fn tell(&self, tell: Box<dyn Fn(News) + Send + Sync>) {
        let _ = self.tell.set(tell);
    }

    /// These are stored, in this order. What cannot be logged now waits, across a crash too.
    pub fn log(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        lock(&self.shown).waits(&entries);
        let mut inner = lock(&self.inner);
        inner.waiting.extend(entries);
        // What went wrong is told by `standing`, and tried again.
        let _ = self.settle(&mut inner, None);
        drop(inner);
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
    pub fn revoke(&self, what: Revoked, reason: Reason) -> Result<LogHead, String> {
        self.settle(
            &mut lock(&self.inner),
            Some(Leaf::Revocation { what, reason }),
        )?;
        self.bell.notify_all();
        Ok(self.head())
    }

    /// A run is over: what it had as inputs is not asked for again.
    pub fn forget(&self, run: RunId) {
        lock(&self.inner).runs.remove(&run);
    }

    /// The head as it is now.
    pub fn head(&self) -> LogHead {
        lock(&self.shown).head.clone()
    }

    /// The head as it is now, if everything that is stored is below it.
    pub fn head_with_all(&self) -> Option<LogHead> {
        let shown = lock(&self.shown);
        shown.waiting.is_empty().then(|| shown.head.clone())
    }

    /// Whether a version is stored and has no place in the log yet.
    pub fn is_waiting(&self, version: VersionId) -> bool {
        lock(&self.shown).waiting.contains(&version)
    }

    /// Why nothing may be signed any more.
    pub fn refusal(&self) -> Option<String> {
        lock(&self.shown).refused.clone()
    }

    /// What a person asks of it.
    pub fn standing(&self) -> Standing {
        lock(&self.shown).standing(self.circulation.standing())
    }

    /// Everything that waits goes into the log with one commit, and `leaf` after it. All of it, or nothing.
    fn settle(&self, inner: &mut Inner, leaf: Option<Leaf>) -> Result<(), String> {
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        let done = self.commit(inner, leaf);
        lock(&self.shown).head = inner.writer.checkpoint().head.clone();
        match done {
            Ok(()) => {
                if lock(&self.shown).trouble.take().is_some() {
                    tracing::info!("the transparency log goes on");
                }
                Ok(())
            }
            Err(e) => {
                let text = format!("the transparency log cannot be written: {e}");
                let before = lock(&self.shown).trouble.replace(text.clone());
                if before.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                }
                inner.waiting.iter_mut().for_each(|e| e.waited = true);
                if let Err(e) = entry::save(&inner.waiting_file, &inner.waiting) {
                    tracing::error!("{}: {e}", inner.waiting_file.display());
                }
                if e.is_final() {
                    self.refuse(text.clone());
                }
                Err(text)
            }
        }
    }

    fn commit(&self, inner: &mut Inner, leaf: Option<Leaf>) -> Result<(), AppendError> {
        let mut leaves = Vec::new();
        let mut runs: HashMap<RunId, SetHead> = HashMap::new();
        let mut own = 0;
        let known = self.known(&inner.waiting);
        for (entry, known) in inner.waiting.iter().zip(known) {
            if known {
                continue;
            }
            if let (Some(leaf), Some((run, head))) = (entry.inputs_leaf(), entry.inputs)
                && runs.get(&run).or_else(|| inner.runs.get(&run)) != Some(&head)
            {
                leaves.push(leaf.encode());
                runs.insert(run, head);
            }
            leaves.push(entry.leaf().encode());
            own += u64::from(Some(entry.instance) == inner.instance);
        }
        leaves.extend(leaf.map(|l| l.encode()));
        if !leaves.is_empty() {
            inner.writer.append(&leaves)?;
        }
        inner.runs.extend(runs);
        inner.manifests += own;
        inner.pace.logged(Instant::now(), leaves.len() as u64);
        let waited = inner.waiting.iter().any(|e| e.waited);
        let logged: Vec<Entry> = std::mem::take(&mut inner.waiting);
        if waited && let Err(e) = entry::save(&inner.waiting_file, &[]) {
            // Each is looked for before it is logged again.
            tracing::warn!("{}: {e}", inner.waiting_file.display());
        }
        lock(&self.shown).logged(&logged);
        let late: Vec<VersionId> = logged
            .iter()
            .filter(|e| e.waited)
            .map(|e| e.version)
            .collect();
        if let (Some(tell), false) = (self.tell.get(), late.is_empty()) {
            tell(News::Logged(late));
        }
        Ok(())
    }

    /// Which of these are in the log: only what an earlier life stored can be.
    fn known(&self, entries: &[Entry]) -> Vec<bool> {
        let mut finder = None;
        let mut is_known = |e: &Entry| {
            e.earlier && {
                let finder = finder.get_or_insert_with(|| Finder::open(&self.dir));
                matches!(finder.manifest(&e.manifest), Ok(Some(_)))
            }
        };
        entries.iter().map(&mut is_known).collect()
    }

    /// Says how far the instance has come, now or as soon as it can be said.
    fn anchor(&self, inner: &mut Inner, last: bool) {
        let Some(instance) = inner.instance else {
            return;
        };
        inner.owes_anchor = true;
        // What waits is counted only once it is in.
        if self.settle(inner, None).is_err() {
            return;
        }
        let leaf = Leaf::Anchor {
            instance,
            seq: inner.anchors,
            manifests: inner.manifests,
            evidence: inner.evidence,
            last,
        };
        if self.settle(inner, Some(leaf)).is_ok() {
            inner.anchors += 1;
            inner.owes_anchor = false;
            inner.pace.anchored();
            self.memory.keep(inner.writer.checkpoint());
        }
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
