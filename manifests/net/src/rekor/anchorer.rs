//! Anchors the heads of one log in one Rekor: signs, posts, checks, keeps, and remembers what the public log showed. Blocks while it does:
//! whoever calls has a thread for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atlas_manifests::log::anchor::shelf::{self, DIR};
use atlas_manifests::log::anchor::{AnchorKey, AnchorRequest, Expected, PublicAnchor};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::memory::{Both, Judged, Memory, judge};
use atlas_manifests::log::note::{Signed, VerifierKey};
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::merkle::root_before;

use super::schedule::{Backoff, Schedule};
use super::{Posted, Rekor, RekorError, TIMEOUT};
use crate::http::Http;

/// Below `rekor/`: what the public log showed last.
const HEAD: &str = "head";
/// How often a head is anchored at most, where nothing else is set.
const INTERVAL: Duration = Duration::from_secs(600);

/// Which public log, and how it is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is, without `/api`.
    pub url: String,
    /// Its key, which the user trusts.
    pub public: VerifierKey,
    /// The key of our log: nothing that it did not sign is anchored.
    pub log: VerifierKey,
    /// Who must have cosigned the public log's checkpoints.
    pub quorum: Option<Quorum>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How often a head is anchored at most.
    pub interval: Duration,
    /// When it is tried again.
    pub backoff: Backoff,
}

impl Settings {
    /// One Rekor with what is usual.
    pub fn new(url: &str, public: VerifierKey, log: VerifierKey) -> Self {
        Self {
            url: url.to_owned(),
            public,
            log,
            quorum: None,
            timeout: TIMEOUT,
            interval: INTERVAL,
            backoff: Backoff::default(),
        }
    }
}

/// Anchors the heads of one log.
#[derive(Debug)]
pub struct Anchorer {
    settings: Settings,
    rekor: Rekor,
    key: AnchorKey,
    log_dir: PathBuf,
    memory: Memory,
    schedule: Schedule,
    /// What was sent and not answered: sent again, it does not become a second entry.
    pending: Option<AnchorRequest>,
    /// The largest of our heads that is anchored.
    anchored: Option<u64>,
}

impl Anchorer {
    /// For the log in this directory. Nothing is asked yet.
    ///
    /// # Errors
    /// When what was kept before cannot be read.
    pub fn open(settings: Settings, key: AnchorKey, log_dir: &Path) -> Result<Self, RekorError> {
        let dir = log_dir.join(DIR);
        let sizes = shelf::sizes(log_dir).map_err(|source| shelf::ShelfError::Io {
            path: dir.clone(),
            source,
        })?;
        let seed = *key.public().digest().0.first_chunk().unwrap_or(&[0; 8]);
        let schedule = Schedule::new(
            settings.interval,
            settings.backoff,
            u64::from_be_bytes(seed),
        );
        Ok(Self {
            rekor: Rekor::new(Http::new(settings.timeout), &settings.url),
            memory: Memory::open(&dir.join(HEAD))?,
            settings,
            key,
            log_dir: log_dir.to_owned(),
            schedule,
            pending: None,
            anchored: sizes.last().copied(),
        })
    }

    /// How long from `now` until this head may be anchored; `None`: there is nothing new in it.
    pub fn wait(&self, newest: &Checkpoint, now: Instant) -> Option<Duration> {
        let size = newest.head.head.size;
        let new = size > 0 && self.anchored.is_none_or(|anchored| anchored < size);
        new.then(|| self.schedule.wait(now))
    }

    /// How many tries failed since the last that did not.
    pub fn failures(&self) -> u32 {
        self.schedule.failures()
    }

    /// Anchors a head now, whatever `wait` says, and keeps what shows it. A head that is anchored already is not sent again.
    ///
    /// # Errors
    /// Why there is no anchor.
    pub fn anchor_once(&mut self, checkpoint: &Checkpoint) -> Result<PublicAnchor, RekorError> {
        let begun = Instant::now();
        let result = self.anchor(checkpoint);
        match &result {
            Ok(_) => {
                let size = checkpoint.head.head.size;
                self.pending = None;
                self.anchored = self.anchored.max(Some(size));
                self.schedule.succeeded(begun);
            }
            Err(e) => {
                if !e.retryable() {
                    self.pending = None;
                }
                self.schedule
                    .failed(Instant::now(), e.retryable(), e.after());
            }
        }
        result
    }

    fn anchor(&mut self, ours: &Checkpoint) -> Result<PublicAnchor, RekorError> {
        if ours.signed_by_log(&self.settings.log) != Signed::Yes {
            return Err(RekorError::NotOurs(self.settings.log.name().to_owned()));
        }
        if let Some(kept) = self.kept(ours)? {
            return Ok(kept);
        }
        let mut request = match self.pending.take().filter(|r| r.signs(ours)) {
            Some(request) => request,
            None => AnchorRequest::sign(ours, &self.key)?,
        };
        let mut posted = self.post(&request)?;
        let mut found = None;
        if let Posted::Duplicate(index) = posted {
            match self.duplicate(&request, ours, index) {
                Ok(anchor) => found = Some(anchor),
                Err(why) => {
                    // Another signature is another entry, and that is proven.
                    tracing::debug!("{why}");
                    request = AnchorRequest::sign(ours, &self.key)?;
                    posted = self.post(&request)?;
                }
            }
        }
        let anchor = match (found, posted) {
            (Some(found), _) => found,
            (None, Posted::Entry(answer)) => {
                answer.check(&request, ours, &self.expected(&request))?
            }
            (None, Posted::Duplicate(_)) => {
                return Err(RekorError::Duplicate {
                    url: self.rekor.url().to_owned(),
                    why: "and says so of a signature that was never sent before".to_owned(),
                });
            }
        };
        self.remember(&anchor)?;
        shelf::store(&self.log_dir, &anchor)?;
        Ok(anchor)
    }

    /// Posts; an entry that may have arrived is kept to be sent again.
    fn post(&mut self, request: &AnchorRequest) -> Result<Posted, RekorError> {
        self.pending = Some(request.clone());
        self.rekor.post(request)
    }

    fn expected(&self, request: &AnchorRequest) -> Expected<'_> {
        Expected {
            public: &self.settings.public,
            log: &self.settings.log,
            key: Some(request.key.digest()),
            quorum: self.settings.quorum.as_ref(),
        }
    }

    /// What was anchored before: it still has to hold.
    fn kept(&self, ours: &Checkpoint) -> Result<Option<PublicAnchor>, RekorError> {
        let head = ours.head.head;
        let kept = match shelf::read(&self.log_dir, head.size) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(None),
            Err(e) => {
                tracing::warn!("{e}");
                return Ok(None);
            }
        };
        // The key was another life's.
        if let Err(e) = kept.verify(&self.expected(&kept.sent)) {
            tracing::warn!("the anchor at {} leaves is made anew: {e}", head.size);
            return Ok(None);
        }
        let was = kept.checkpoint.head.head.root;
        if was != head.root {
            return Err(RekorError::OwnSplit {
                size: head.size,
                was,
                is: head.root,
            });
        }
        Ok(Some(kept))
    }

    /// The proof of an entry that the log has already, from its tiles.
    fn duplicate(
        &self,
        request: &AnchorRequest,
        ours: &Checkpoint,
        index: Option<u64>,
    ) -> Result<PublicAnchor, RekorError> {
        let unproven = |why: String| RekorError::Duplicate {
            url: self.rekor.url().to_owned(),
            why,
        };
        let index = index.ok_or_else(|| unproven("it does not say where".to_owned()))?;
        let proof = self.rekor.proof(index);
        let anchor = PublicAnchor {
            checkpoint: ours.clone(),
            sent: request.clone(),
            proof: proof.map_err(|e| unproven(e.to_string()))?,
        };
        anchor.verify(&self.expected(request))?;
        Ok(anchor)
    }

    /// Compares the public log's head with what it showed before, and remembers the newer one. Growth is proven by the anchor itself where
    /// nobody else added anything, else by tiles where there are any; else it is believed, and both heads stand in signed anchors.
    fn remember(&self, anchor: &PublicAnchor) -> Result<(), RekorError> {
        let shown = &anchor.proof.checkpoint;
        let before = self.memory.load(&shown.head.origin)?;
        let judged = match before.as_ref().and_then(|b| direct(b, anchor)) {
            Some(judged) => Ok(judged),
            None => judge(before.as_ref(), shown, |old, _| {
                self.rekor.growth(old.size, shown)
            }),
        };
        match judged {
            Ok(Judged::First | Judged::Grown { .. }) => {}
            Ok(Judged::Same) => return Ok(()),
            Ok(Judged::Rollback(both)) => {
                let kept = self.memory.keep(&both)?.to_vec();
                return Err(RekorError::Rollback { both, kept });
            }
            Ok(Judged::Split(both)) => {
                let kept = self.memory.keep(&both)?.to_vec();
                return Err(RekorError::Split { both, kept });
            }
            Err(why) => tracing::debug!("the public log's growth is not proven: {why}"),
        }
        // Another process remembered something meanwhile: its head was judged by it, ours is in the anchor.
        self.memory.swap(before.as_ref(), shown)?;
        Ok(())
    }
}

/// Growth as the anchor's own proof shows it; `None`: it does not.
fn direct(before: &Checkpoint, anchor: &PublicAnchor) -> Option<Judged> {
    let (shown, old) = (&anchor.proof.checkpoint, before.head.head);
    if old.size != anchor.proof.index || before.head.origin != shown.head.origin {
        return None;
    }
    let root = root_before(old.size, shown.head.head.size, &anchor.proof.hashes)?;
    Some(if root == old.root {
        Judged::Grown { from: old }
    } else {
        Judged::Split(Box::new(Both {
            remembered: before.clone(),
            shown: shown.clone(),
        }))
    })
}
