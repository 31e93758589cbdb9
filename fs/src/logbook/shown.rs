//! What is told of the log without waiting for it. Plain data.

use std::collections::HashSet;

use atlas_manifests::evidence::LogHead;
use atlas_manifests::id::VersionId;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::set::empty_head;

use super::circulation;
use super::entry::Entry;

/// As it is now.
pub(super) struct Shown {
    pub(super) head: LogHead,
    /// Versions that are stored, and not in the log.
    pub(super) waiting: HashSet<VersionId>,
    /// Why nothing may be signed any more.
    pub(super) refused: Option<String>,
    /// What does not work, and is tried again.
    pub(super) trouble: Option<String>,
}

/// What a person asks of it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The newest head.
    pub head: LogHead,
    /// Manifests that are stored and wait for their place.
    pub waiting: u64,
    /// Who was told of it.
    pub circulation: circulation::Standing,
    /// What does not work, one line each.
    pub troubles: Vec<String>,
}

impl Shown {
    pub(super) fn of(origin: &str, now: Option<&Checkpoint>, waiting: &[Entry]) -> Self {
        let nothing = || LogHead {
            origin: origin.to_owned(),
            head: empty_head(),
        };
        Self {
            head: now.map_or_else(nothing, |c| c.head.clone()),
            waiting: waiting.iter().map(|e| e.version).collect(),
            refused: None,
            trouble: None,
        }
    }

    pub(super) fn waits(&mut self, entries: &[Entry]) {
        self.waiting.extend(entries.iter().map(|e| e.version));
    }

    pub(super) fn logged(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.waiting.remove(&entry.version);
        }
    }

    pub(super) fn standing(&self, circulation: circulation::Standing) -> Standing {
        let troubles = self.refused.iter().chain(&self.trouble);
        Standing {
            head: self.head.clone(),
            waiting: self.waiting.len() as u64,
            troubles: troubles.chain(&circulation.troubles).cloned().collect(),
            circulation,
        }
    }
}
