//! The attester at work in a mount: begins before the first seal, follows what is sealed on a thread of its own, ends in order. Off every hot
//! path: no request waits for it, and no seal but those of files that were to have a quote of their own, and what is sealed behind them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::evidence::{BoundKey, Evidence, KeyUse};
use atlas_manifests::id::InstanceId;
use atlas_manifests::store::{Item, Store, StoreError};
use atlas_manifests::vocabulary::Hardware;
use ignore::gitignore::Gitignore;

use super::batches::{Due, Pace};
use super::detect;
use super::events::EventFile;
use super::evidence::{AttestError, Attester, Setup};
use super::gpu::GpuSource;
use super::ground::{Td, config_text, event_log, patterns, program};
use super::machine::Machine;
use super::tdx::{Interfaces, Presence};
use crate::logbook::Logbook;

/// A thread without anything due looks again after so long.
const IDLE: Duration = Duration::from_secs(3600);
/// The first quote is waited for so long, where there is no mount without it ...
const REQUIRED_WITHIN: Duration = Duration::from_secs(45);
/// ... and where there is: many guests have no quoting service, and each mount would wait for it.
const OFFERED_WITHIN: Duration = Duration::from_secs(10);
/// What is due at the end is tried so often ...
const LAST_TRIES: u32 = 3;
/// ... and waited for so long.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Whether there is to be evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Where there is TDX.
    #[default]
    Auto,
    /// Without it there is no mount.
    Require,
    /// Never.
    Off,
}

/// What evidence is made with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether.
    pub wanted: Wanted,
    /// Where the kernel's interfaces lie.
    pub interfaces: Interfaces,
    /// The directory of the event log; `events::DEFAULT_DIR` when it is not told.
    pub event_log: Option<PathBuf>,
    /// A directory with Intel's collateral.
    pub collateral: Option<PathBuf>,
    /// Where GPU evidence comes from.
    pub gpu: Option<GpuSource>,
    /// What was booted, as the operator calls it.
    pub image: Option<String>,
    /// Files that get a quote of their own, as patterns of `.gitignore`.
    pub explicit: Vec<String>,
}

/// How the attester began.
pub enum Begun {
    /// There is no evidence: why, when a person should know.
    Without(Option<String>),
    /// There is.
    With(Arc<Keeper>),
}

/// Keeps the evidence of one instance.
pub struct Keeper {
    attester: Attester,
    store: Arc<Store>,
    first: Sha256,
    config: String,
    explicit: Gitignore,
    state: Mutex<State>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// No quote is waited for any more.
    cancelled: Arc<AtomicBool>,
    /// Signs checkpoints.
    log_key: Arc<InstanceKey>,
    /// Told of each anchor that is stored.
    log: Arc<Logbook>,
}

struct State {
    pace: Pace,
    waiting: Vec<Sha256>,
    /// Those whose event is being written.
    batch: Vec<Sha256>,
    last: Sha256,
    anchors: u64,
    trouble: Option<String>,
    /// Files that were to have a quote of their own and have none, and why the last one has none.
    unquoted: Option<(u64, String)>,
    /// Anchors that are made and not stored.
    unsaved: Vec<Evidence>,
    stopping: bool,
    ended: bool,
}

/// What a person asks of it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What stands behind the keys, as far as the daemon can say.
    pub hardware: Hardware,
    /// The instance's evidence.
    pub first: Sha256,
    /// The newest anchor, or the first evidence.
    pub last: Sha256,
    /// How many anchors there are.
    pub anchors: u64,
    /// Manifests that no anchor shows yet.
    pub open: u64,
    /// The configuration that is bound, as text: its SHA-256 is in the binding.
    pub config: String,
    /// What does not work, one line each.
    pub troubles: Vec<String>,
}

impl Keeper {
    /// Looks for TDX, and makes the instance's evidence where there is some. May take as long as a quote does.
    ///
    /// # Errors
    /// Only where evidence is required: why there is none, in one line.
    pub fn begin(
        settings: &Settings,
        config: &[(&str, String)],
        instance: InstanceId,
        seal_key: &InstanceKey,
        store: &Arc<Store>,
        log: &Arc<Logbook>,
    ) -> Result<Begun, String> {
        if settings.wanted == Wanted::Off {
            return Ok(Begun::Without(None));
        }
        let without = |why: Option<String>| match (settings.wanted, why) {
            (Wanted::Require, why) => Err(format!(
                "hardware evidence is required, and there is none: {}; mount with --tdx off to go without it",
                why.unwrap_or_else(|| "this is no TDX guest".to_owned())
            )),
            (_, why) => Ok(Begun::Without(
                why.map(|w| format!("there is no hardware evidence: {w}")),
            )),
        };
        match settings.interfaces.present() {
            Ok(Presence::Tdx) => {}
            Ok(Presence::Other(name)) => {
                return without(Some(format!("{name} is not Intel TDX")));
            }
            Ok(Presence::Absent) if detect::in_td() => {
                let why = "this is a TDX guest, and its kernel shows no configfs-tsm: load tdx_guest, mount configfs, and mount again";
                return without(Some(why.to_owned()));
            }
            Ok(Presence::Absent) => return without(None),
            Err(e) => return without(Some(e.to_string())),
        }
        match Self::with(settings, config, instance, seal_key, store, log) {
            Ok(keeper) => Ok(Begun::With(keeper)),
            Err(why) => without(Some(why)),
        }
    }

    fn with(
        settings: &Settings,
        config: &[(&str, String)],
        instance: InstanceId,
        seal_key: &InstanceKey,
        store: &Arc<Store>,
        log: &Arc<Logbook>,
    ) -> Result<Arc<Self>, String> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let machine: Arc<dyn Machine> = Arc::new(Td {
            interfaces: settings.interfaces.clone(),
            cancelled: Arc::clone(&cancelled),
        });
        let log_key = InstanceKey::generate().map_err(|e| e.to_string())?;
        let dir = event_log(settings);
        let events = EventFile::open(&dir, Arc::clone(&machine)).map_err(|e| e.to_string())?;
        let config = config_text(settings, config);
        let (attester, evidence) = Attester::begin(Setup {
            machine,
            events,
            instance,
            keys: [
                BoundKey::of(KeyUse::Seal, &seal_key.public()),
                BoundKey::of(KeyUse::Log, &log_key.public()),
            ]
            .into_iter()
            .chain(log.anchor_key())
            .collect(),
            config: Sha256::of(config.as_bytes()),
            program: program().map_err(|e| format!("the daemon's own program: {e}"))?,
            log: Arc::clone(log) as Arc<_>,
            image: settings.image.clone(),
            gpu: settings.gpu.clone(),
            collateral: settings.collateral.clone(),
            within: match settings.wanted {
                Wanted::Require => REQUIRED_WITHIN,
                Wanted::Auto | Wanted::Off => OFFERED_WITHIN,
            },
        })
        .map_err(|e| e.to_string())?;
        if let Ok(quote) = Quote::parse(&evidence.quote) {
            tracing::info!(
                evidence = evidence.id().hex(),
                attributes = detect::attribute_names(quote.attributes()).join(" "),
                "hardware evidence is made"
            );
        }
        let keeper = Arc::new(Self {
            store: Arc::clone(store),
            first: evidence.id(),
            config,
            explicit: patterns(&settings.explicit)?,
            state: Mutex::new(State {
                pace: Pace::default(),
                waiting: Vec::new(),
                batch: Vec::new(),
                last: evidence.id(),
                anchors: 0,
                trouble: None,
                unquoted: None,
                unsaved: Vec::new(),
                stopping: false,
                ended: false,
            }),
            wake: Condvar::new(),
            thread: Mutex::new(None),
            cancelled,
            attester,
            log_key: Arc::new(log_key),
            log: Arc::clone(log),
        });
        keeper.keep(&evidence).map_err(|e| e.to_string())?;
        let working = Arc::clone(&keeper);
        let thread = std::thread::Builder::new()
            .name("atlas-attest".into())
            .spawn(move || working.work())
            .map_err(|e| format!("a thread for evidence: {e}"))?;
        *lock(&keeper.thread) = Some(thread);
        Ok(keeper)
    }

    /// What the certificate names.
    pub fn first(&self) -> Sha256 {
        self.first
    }

    /// What stands behind the keys, as far as the daemon can say.
    pub fn hardware(&self) -> Hardware {
        self.attester.hardware()
    }

    /// The key that signs checkpoints beside the node's: the first evidence binds it.
    pub fn log_key(&self) -> Arc<InstanceKey> {
        Arc::clone(&self.log_key)
    }

    /// Manifests are sealed, in this order. Does not wait.
    pub fn sealed(&self, manifests: &[Sha256]) {
        let mut state = lock(&self.state);
        state.waiting.extend(manifests);
        state.pace.sealed(Instant::now(), manifests.len() as u64);
        drop(state);
        self.wake.notify_one();
    }

    /// Whether a file is to have a quote of its own.
    pub fn wants_own(&self, path: &PathBytes) -> bool {
        self.explicit
            .matched_path_or_any_parents(path.as_path(), false)
            .is_ignore()
    }

    /// A quote for one manifest, kept in the store. Waits for it.
    ///
    /// # Errors
    /// Why there is none, in one line. The manifest is sealed without it then, and `status` says so.
    pub fn for_manifest(&self, claim: Sha256) -> Result<Sha256, String> {
        let made = self
            .settle()
            .and_then(|()| self.attester.for_manifest(claim).map_err(|e| e.to_string()));
        let kept = made.and_then(|e| self.keep(&e).map(|()| e.id()).map_err(|e| e.to_string()));
        kept.inspect_err(|why| {
            tracing::error!("a file has no quote of its own: {why}");
            let mut state = lock(&self.state);
            let before = state.unquoted.as_ref().map_or(0, |(n, _)| *n);
            state.unquoted = Some((before + 1, why.clone()));
        })
    }

    /// Fresh evidence for a verifier's nonce. Waits for a quote.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn answer(&self, nonce: &[u8]) -> Result<Evidence, String> {
        let evidence = self.attester.answer(nonce).map_err(|e| e.to_string())?;
        self.keep_collateral(&evidence).map_err(|e| e.to_string())?;
        Ok(evidence)
    }

    /// What a person asks of it.
    pub fn standing(&self) -> Standing {
        let state = lock(&self.state);
        Standing {
            hardware: self.hardware(),
            first: self.first,
            last: state.last,
            anchors: state.anchors,
            open: state.pace.open(),
            config: self.config.clone(),
            troubles: [
                state.trouble.clone(),
                self.attester.missing(),
                state.unquoted.as_ref().map(|(n, why)| {
                    format!(
                        "{n} files have no quote of their own, as --explicit-quotes wants it: {why}"
                    )
                }),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    /// Has the last events and the last anchor written, and the instance ended. Called once, when nothing is sealed any more. Waits a bounded
    /// time: what a host that does not answer keeps from being quoted is in the event log all the same.
    pub fn stop(&self) {
        lock(&self.state).stopping = true;
        self.wake.notify_all();
        let deadline = Instant::now() + STOP_WITHIN;
        let mut state = lock(&self.state);
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                self.cancelled.store(true, Ordering::Release);
                tracing::warn!(
                    "the host gives no quote: what was sealed last is in the event log, and no anchor shows it"
                );
                return;
            }
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the attester panicked");
        }
    }

    fn work(&self) {
        while let Some(due) = self.next_due() {
            self.carry_out(due);
        }
        for _ in 0..LAST_TRIES {
            let due = lock(&self.state).pace.due_at_end();
            match due {
                Some(due) if !self.cancelled.load(Ordering::Acquire) => self.carry_out(due),
                _ => break,
            }
        }
        if let Err(e) = self.settle() {
            tracing::error!("{e}");
        }
        if let Err(e) = self.attester.end() {
            tracing::warn!(error = %e, "the instance's end is not in the event log");
        }
        lock(&self.state).ended = true;
        self.wake.notify_all();
    }

    /// Waits for something to do; `None` once the end has come.
    fn next_due(&self) -> Option<Due> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            if let Some(due) = state.pace.due(now) {
                return Some(due);
            }
            let next = state.pace.next();
            let next = next.map(|at| at.saturating_duration_since(now));
            let waited = self.wake.wait_timeout(state, next.unwrap_or(IDLE));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn carry_out(&self, due: Due) {
        let done = match due {
            Due::Seal => self.batch().map_err(|e| e.to_string()),
            Due::Anchor => self.anchor(),
        };
        match done.and_then(|()| self.settle()) {
            Ok(()) => lock(&self.state).trouble = None,
            Err(e) => {
                self.trouble(format!("evidence falls behind what is sealed: {e}"));
                lock(&self.state).pace.failed(Instant::now());
            }
        }
    }

    /// A batch whose event is not known to be in the log is tried again as it was: then it stands there once.
    fn batch(&self) -> Result<(), AttestError> {
        let batch = {
            let mut state = lock(&self.state);
            if state.batch.is_empty() {
                state.batch = std::mem::take(&mut state.waiting);
            }
            state.batch.clone()
        };
        self.attester.sealed(&batch)?;
        let mut state = lock(&self.state);
        state.batch.clear();
        state.pace.wrote();
        // What was sealed meanwhile waits for the next event.
        let since = state.waiting.len() as u64;
        state.pace.sealed(Instant::now(), since);
        Ok(())
    }

    fn anchor(&self) -> Result<(), String> {
        self.settle()?;
        let evidence = self.attester.anchor().map_err(|e| e.to_string())?;
        let mut state = lock(&self.state);
        state.pace.anchored();
        state.last = evidence.id();
        state.anchors += 1;
        state.unsaved.push(evidence);
        Ok(())
    }

    /// Stores anchors that could not be stored when they were made: whatever is made next goes on from them.
    fn settle(&self) -> Result<(), String> {
        loop {
            let Some(next) = lock(&self.state).unsaved.first().cloned() else {
                return Ok(());
            };
            self.keep(&next)
                .map_err(|e| format!("an anchor could not be stored: {e}"))?;
            lock(&self.state).unsaved.remove(0);
            self.log.anchored(next.id());
        }
    }

    fn trouble(&self, text: String) {
        tracing::error!("{text}");
        lock(&self.state).trouble = Some(text);
    }

    fn keep(&self, evidence: &Evidence) -> Result<(), StoreError> {
        self.keep_collateral(evidence)?;
        self.store.put(&Item::evidence(evidence))
    }

    fn keep_collateral(&self, evidence: &Evidence) -> Result<(), StoreError> {
        let bytes = evidence
            .collateral
            .and_then(|name| self.attester.collateral(&name));
        bytes.map_or(Ok(()), |b| self.store.put(&Item::collateral(b.to_vec())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
