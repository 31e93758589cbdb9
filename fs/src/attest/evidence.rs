//! Collects evidence: what is bound, the quote over it, and what explains the quote. Everything is checked before it is given out; none of it is believed.
//!
//! A quote shows what RTMR3 was when it was made, so it is asked for while no other daemon can extend it. It may take seconds: whoever
//! calls this has a thread for it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::binding::{BindingError, MAX_NONCE};
use atlas_manifests::evidence::record::MAX_RECORD;
use atlas_manifests::evidence::{
    Beacon, Binding, BoundKey, EventBody, EventHead, EventLog, Evidence, KeyUse, Purpose, fmspc,
};
use atlas_manifests::id::InstanceId;
use atlas_manifests::set::SetTree;
use atlas_manifests::vocabulary::Hardware;
use jiff::Timestamp;

use super::checks::{firmware_log, usable};
use super::collateral;
use super::events::{EventError, EventFile, Locked};
use super::gpu::GpuSource;
use super::ground::second;
use super::head::LogSource;
use super::machine::Machine;
use super::own::Own;

/// A quote has so long. The kernel gives up after 30 s, and the request before may still be running.
const QUOTE_WITHIN: Duration = Duration::from_secs(45);
/// ... and one for a single manifest so long: an attempt that has begun goes on to its end, which the kernel sets at 30 s.
const OWN_WITHIN: Duration = Duration::from_secs(5);
/// So often a quote is asked for while something else extends RTMR3.
const TRIES: usize = 3;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The event log failed.
    #[error(transparent)]
    Events(#[from] EventError),
    /// What was to be bound cannot be.
    #[error("what was to be bound is {0}")]
    Binding(#[from] BindingError),
    /// No quote was given.
    #[error("no quote: {0}")]
    Quote(String),
    /// A quote was given that cannot be published.
    #[error("the quote that was given is not used: {0}")]
    Refused(String),
    /// Something extends RTMR3 all the time.
    #[error(
        "no quote shows what the event log says: something else extended RTMR3 during each of {TRIES}"
    )]
    Foreign,
    /// GPU evidence was asked for.
    #[error("{0}")]
    Gpu(String),
    /// A nonce that cannot be bound.
    #[error("a nonce has 1 to {MAX_NONCE} bytes, not {0}")]
    Nonce(usize),
    /// It would be longer than any that is read.
    #[error("the evidence would be longer than {MAX_RECORD} bytes")]
    TooLong,
    /// The instance's own events are gone.
    #[error(
        "the event log of this boot is not the one that this daemon began in: restart the daemon"
    )]
    Lost,
    /// The event log has another beginning of this instance.
    #[error("an instance of this name has begun before with other keys or another program")]
    Taken,
    /// The instance has ended.
    #[error("the instance has ended: nothing is added to its evidence")]
    Ended,
}

/// What an attester begins with.
pub struct Setup {
    /// The trust domain.
    pub machine: Arc<dyn Machine>,
    /// The event log; `None` where RTMR3 cannot be extended.
    pub events: Option<EventFile>,
    /// The life of the daemon.
    pub instance: InstanceId,
    /// The key that seals, the key that signs checkpoints, and any others of the instance: one for each use.
    pub keys: Vec<BoundKey>,
    /// SHA-256 of the effective configuration.
    pub config: Sha256,
    /// SHA-256 of the daemon's executable.
    pub program: Sha256,
    /// Asked for the transparency log's head at each event and each quote.
    pub log: Arc<dyn LogSource>,
    /// What was booted, as the operator calls it.
    pub image: Option<String>,
    /// Where GPU evidence comes from.
    pub gpu: Option<GpuSource>,
    /// A directory of collateral.
    pub collateral: Option<PathBuf>,
    /// How long the first quote may take.
    pub within: Duration,
}

/// Makes evidence for one instance.
pub struct Attester {
    setup: Setup,
    /// GPU evidence and the firmware's event log, read once.
    gpu: Option<Vec<u8>>,
    ccel: Option<Vec<u8>>,
    inner: Mutex<Inner>,
    shelf: Mutex<Shelf>,
}

struct Inner {
    /// The number of the next evidence. None is given twice, whether or not its evidence was made.
    next: u64,
    last: Option<Last>,
    own: Own,
}

/// Behind a lock of its own: a quote takes seconds, and who asks for this does not wait for it.
#[derive(Default)]
struct Shelf {
    /// What evidence of this life names.
    collateral: HashMap<Sha256, Arc<[u8]>>,
    missing: Option<String>,
}

/// The evidence that the next one goes on from.
#[derive(Debug, Clone, Copy)]
struct Last {
    id: Sha256,
    head: Option<EventHead>,
}

/// What is particular to one evidence.
struct Draft {
    purpose: Purpose,
    seq: u64,
    previous: Option<Last>,
    beacon: Option<Beacon>,
    claim: Option<Sha256>,
    ccel: Option<Vec<u8>>,
    within: Duration,
}

impl Attester {
    /// Appends the instance's start and makes its first evidence. May be tried again with the same setup.
    ///
    /// # Errors
    /// Why there is no evidence, in one line.
    pub fn begin(setup: Setup) -> Result<(Self, Evidence), AttestError> {
        let gpu = setup.gpu.as_ref().map(|g| g.collect(&setup.keys));
        let gpu = gpu.transpose().map_err(AttestError::Gpu)?;
        let ccel = firmware_log(&*setup.machine);
        let inner = Inner {
            next: 1,
            last: None,
            own: Own::new(setup.instance),
        };
        let attester = Self {
            setup,
            gpu,
            ccel: ccel.clone(),
            inner: Mutex::new(inner),
            shelf: Mutex::default(),
        };
        let draft = Draft {
            purpose: Purpose::Instance,
            seq: 0,
            previous: None,
            beacon: None,
            claim: None,
            ccel,
            within: attester.setup.within,
        };
        let start = attester.start()?;
        let evidence = {
            let inner = &mut *attester.lock();
            let evidence = attester.make(inner, &draft, |own, log| {
                let before = own.look(log)?;
                match before.as_slice() {
                    [] => own.append(log, |b| *b == start, |_| start.clone()),
                    [first] if *first == start => Ok(()),
                    _ => Err(AttestError::Taken),
                }
            })?;
            inner.last = Some(Last::of(&evidence));
            evidence
        };
        Ok((attester, evidence))
    }

    /// Makes an anchor: its event, and a quote that shows all events up to it.
    ///
    /// # Errors
    /// Why there is no evidence, in one line.
    pub fn anchor(&self) -> Result<Evidence, AttestError> {
        let inner = &mut *self.lock();
        let draft = inner.draft(Purpose::Anchor, inner.last);
        let event = inner.last.map(|last| EventBody::Anchor {
            seq: draft.seq,
            previous: last.id,
        });
        let evidence = self.make(inner, &draft, |own, log| match event {
            Some(event) => own.append(log, |b| *b == event, |_| event.clone()),
            None => Err(AttestError::Lost),
        })?;
        inner.last = Some(Last::of(&evidence));
        Ok(evidence)
    }

    /// Answers a nonce with evidence that stands alone.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn answer(&self, nonce: &[u8]) -> Result<Evidence, AttestError> {
        if nonce.is_empty() || nonce.len() > MAX_NONCE {
            return Err(AttestError::Nonce(nonce.len()));
        }
        let inner = &mut *self.lock();
        let mut draft = inner.draft(Purpose::Answer, None);
        draft.beacon = Some(Beacon::Nonce(nonce.to_vec()));
        draft.ccel.clone_from(&self.ccel);
        self.make(inner, &draft, running)
    }

    /// Makes evidence for one claim. What is made next goes on from the same evidence as it does.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn for_manifest(&self, claim: Sha256) -> Result<Evidence, AttestError> {
        let inner = &mut *self.lock();
        let mut draft = inner.draft(Purpose::Manifest, inner.last);
        draft.claim = Some(claim);
        // Other seals wait behind this one.
        draft.within = OWN_WITHIN;
        self.make(inner, &draft, running)
    }

    /// Appends the event that a batch of manifests was sealed, by their digests in their order. Does nothing without an event log.
    ///
    /// # Errors
    /// When it is not known to be done. To be tried again with the same batch: it stands in the log once.
    pub fn sealed(&self, batch: &[Sha256]) -> Result<(), AttestError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tree = SetTree::new();
        for manifest in batch {
            tree.push_encoded(&manifest.0);
        }
        let head = tree.head();
        let done = |b: &EventBody| matches!(b, EventBody::Seal { batch, .. } if *batch == head);
        self.note(done, |total| EventBody::Seal {
            total: total + batch.len() as u64,
            batch: head,
            log: self.setup.log.head_with_all(),
        })
    }

    /// Appends the instance's end. Nothing can be added after it; a second end is none.
    ///
    /// # Errors
    /// When it is not known to be done.
    pub fn end(&self) -> Result<(), AttestError> {
        let done = |b: &EventBody| matches!(b, EventBody::End { .. });
        match self.note(done, |total| EventBody::End { total }) {
            Ok(()) | Err(AttestError::Ended) => {
                self.lock().own.ended = true;
                Ok(())
            }
            other => other,
        }
    }

    /// What stands behind the keys, as far as the daemon itself can say.
    pub fn hardware(&self) -> Hardware {
        if self.setup.machine.genuine() {
            Hardware::Tdx
        } else {
            Hardware::Simulated
        }
    }

    /// The bytes of collateral that evidence of this life names.
    pub fn collateral(&self, name: &Sha256) -> Option<Arc<[u8]>> {
        self.shelf().collateral.get(name).cloned()
    }

    /// What the newest evidence lacks, in one line: collateral.
    pub fn missing(&self) -> Option<String> {
        self.shelf().missing.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<EventBody, AttestError> {
        let key = |purpose| {
            let mut keys = self.setup.keys.iter().filter(|k| k.purpose == purpose);
            keys.next().map(|k| k.spki)
        };
        let (Some(seal_key), Some(log_key)) = (key(KeyUse::Seal), key(KeyUse::Log)) else {
            return Err(AttestError::Refused(
                "an instance has one key that seals and one that signs checkpoints".to_owned(),
            ));
        };
        Ok(EventBody::Start {
            seal_key,
            log_key,
            config: self.setup.config,
            program: self.setup.program,
        })
    }

    /// An event by itself.
    fn note(
        &self,
        done: impl Fn(&EventBody) -> bool,
        body: impl FnOnce(u64) -> EventBody,
    ) -> Result<(), AttestError> {
        let inner = &mut *self.lock();
        match &self.setup.events {
            Some(events) => events.locked(|log| inner.own.append(log, done, body)),
            None => Ok(()),
        }
    }

    /// Runs `before` and takes the quote, both under the event log's lock; once more if something else extended RTMR3 meanwhile.
    fn make(
        &self,
        inner: &mut Inner,
        draft: &Draft,
        before: impl FnOnce(&mut Own, &mut Locked<'_>) -> Result<(), AttestError>,
    ) -> Result<Evidence, AttestError> {
        let made = match &self.setup.events {
            None if inner.own.ended => return Err(AttestError::Ended),
            None => self.attempt(draft, None)?,
            Some(events) => events.locked(|log| -> Result<_, AttestError> {
                before(&mut inner.own, log)?;
                for _ in 0..TRIES {
                    let made = self.attempt(draft, Some(log))?;
                    if made.is_some() {
                        return Ok(made);
                    }
                    log.settle()?;
                }
                Ok(None)
            })?,
        };
        let mut evidence = made.ok_or(AttestError::Foreign)?;
        self.add_collateral(&mut evidence);
        if evidence.encode().len() > MAX_RECORD {
            return Err(AttestError::TooLong);
        }
        Ok(evidence)
    }

    /// `None` when RTMR3 in the quote is not what the event log replays to.
    fn attempt(
        &self,
        draft: &Draft,
        log: Option<&Locked<'_>>,
    ) -> Result<Option<Evidence>, AttestError> {
        let events = log.map(|log| self.stretch(draft, log)).transpose()?;
        // It is said again where the evidence stands alone; in between it would be 16 MiB a minute.
        let gpu = match draft.purpose {
            Purpose::Instance | Purpose::Answer => self.gpu.clone(),
            Purpose::Anchor | Purpose::Manifest => None,
        };
        let binding = Binding {
            purpose: draft.purpose,
            instance: self.setup.instance,
            seq: draft.seq,
            made: second(),
            previous: draft.previous.map(|p| p.id),
            keys: self.setup.keys.clone(),
            log: self.setup.log.head(),
            events: events.as_ref().map(EventLog::head),
            config: self.setup.config,
            program: self.setup.program,
            image: self.setup.image.clone(),
            gpu: gpu.as_deref().map(Sha256::of),
            beacon: draft.beacon.clone(),
            claim: draft.claim,
        };
        let bytes = binding.encode();
        // What no verifier could read is not worth a quote.
        Binding::decode(&bytes)?;
        let wanted = binding.report_data();
        let raw = self
            .setup
            .machine
            .quote(&wanted, draft.within)
            .map_err(AttestError::Quote)?;
        let quote = usable(&raw, &wanted).map_err(AttestError::Refused)?;
        if binding.events.is_some_and(|h| h.rtmr3 != quote.rtmr(3)) {
            return Ok(None);
        }
        Ok(Some(Evidence {
            binding: bytes,
            quote: quote.bytes.to_vec(),
            events,
            ccel: draft.ccel.clone(),
            gpu,
            collateral: None,
        }))
    }

    /// The log since the evidence before it, without what concerns others.
    fn stretch(&self, draft: &Draft, log: &Locked<'_>) -> Result<EventLog, AttestError> {
        let before = draft.previous.and_then(|p| p.head);
        let from = before.map_or(0, |h| h.count);
        if log.head().count < from {
            return Err(AttestError::Lost);
        }
        let mut events = log.since(from)?;
        if before.is_some_and(|h| h.rtmr3 != events.base) {
            return Err(AttestError::Lost);
        }
        for entry in &mut events.entries {
            *entry = entry.seen_by(self.setup.instance);
        }
        Ok(events)
    }

    fn add_collateral(&self, evidence: &mut Evidence) {
        let Some(dir) = &self.setup.collateral else {
            return;
        };
        let second = Timestamp::now().as_second().try_into().unwrap_or(0);
        let fmspc = fmspc(&evidence.quote);
        let picked = collateral::pick(dir, fmspc.as_deref(), second);
        let shelf = &mut *self.shelf();
        match picked {
            Ok(picked) => {
                evidence.collateral = Some(picked.name);
                shelf.collateral.insert(picked.name, picked.bytes);
                shelf.missing = None;
            }
            Err(text) => {
                // Once, not every minute.
                if shelf.missing.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                shelf.missing = Some(text);
            }
        }
    }
}

impl Inner {
    fn draft(&mut self, purpose: Purpose, previous: Option<Last>) -> Draft {
        let seq = self.next;
        self.next += 1;
        Draft {
            purpose,
            seq,
            previous,
            beacon: None,
            claim: None,
            ccel: None,
            within: QUOTE_WITHIN,
        }
    }
}

impl Last {
    fn of(evidence: &Evidence) -> Self {
        Self {
            id: evidence.id(),
            head: evidence.events.as_ref().map(EventLog::head),
        }
    }
}

/// Adds no event: the instance only has to be alive.
fn running(own: &mut Own, log: &mut Locked<'_>) -> Result<(), AttestError> {
    own.look(log)?;
    if own.ended {
        return Err(AttestError::Ended);
    }
    Ok(())
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
