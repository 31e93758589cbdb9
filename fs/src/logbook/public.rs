//! The public log that gets this log's checkpoints, at an interval: what anybody can look up there was signed by then. Not the log's protocol.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use atlas_manifests::evidence::BoundKey;
use atlas_manifests::log::anchor::{AnchorKey, shelf};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::VerifierKey;
use atlas_net::rekor::{Anchorer, Settings};

use super::lock;
use super::settings::Public;

/// One public log.
pub(super) struct PublicLog {
    anchorer: Mutex<Anchorer>,
    /// Born in memory for this life; where there is evidence, a quote binds it.
    key: BoundKey,
    shown: Mutex<Shown>,
}

struct Shown {
    size: Option<u64>,
    trouble: Option<String>,
}

impl PublicLog {
    /// For the log in `dir`, whose key `log` is. Asks nobody yet.
    ///
    /// # Errors
    /// When the public log's key is none, or what was kept before cannot be read.
    pub(super) fn new(public: &Public, log: &VerifierKey, dir: &Path) -> Result<Self, String> {
        let theirs: VerifierKey = public
            .key
            .parse()
            .map_err(|e| format!("--rekor-key: {e}"))?;
        let mut settings = Settings::new(&public.url, theirs, log.clone());
        settings.interval = public.every;
        let key = AnchorKey::generate().map_err(|e| format!("a key for the public log: {e}"))?;
        let bound = key.public().bound();
        let sizes = shelf::sizes(dir).map_err(|e| e.to_string())?;
        let anchorer = Anchorer::open(settings, key, dir).map_err(|e| e.to_string())?;
        Ok(Self {
            anchorer: Mutex::new(anchorer),
            key: bound,
            shown: Mutex::new(Shown {
                size: sizes.last().copied(),
                trouble: None,
            }),
        })
    }

    /// What a quote is to bind.
    pub(super) fn key(&self) -> BoundKey {
        self.key
    }

    /// How long until it may have this head; `None`: it has it.
    pub(super) fn patience(&self, newest: &Checkpoint, now: Instant) -> Option<Duration> {
        lock(&self.anchorer).wait(newest, now)
    }

    /// Has it take the head, if it is due, and keeps what shows it.
    pub(super) fn show(&self, newest: &Checkpoint, last: bool) {
        let mut anchorer = lock(&self.anchorer);
        let wait = anchorer.wait(newest, Instant::now());
        if wait.is_none_or(|wait| !last && !wait.is_zero()) {
            return;
        }
        let done = anchorer.anchor_once(newest);
        let mut shown = lock(&self.shown);
        match done {
            Ok(_) => {
                shown.size = Some(newest.head.head.size);
                shown.trouble = None;
            }
            Err(e) => {
                let text = format!("the public log: {e}");
                if shown.trouble.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                shown.trouble = Some(text);
            }
        }
    }

    /// The largest head that is there, and what does not work.
    pub(super) fn standing(&self) -> (Option<u64>, Option<String>) {
        let shown = lock(&self.shown);
        (shown.size, shown.trouble.clone())
    }
}
