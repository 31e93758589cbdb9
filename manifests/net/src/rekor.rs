//! A client of Rekor, the public log of Sigstore, in its second version: posts an entry, reads the log's tiles where it serves them. Not whether
//! to believe an answer: `atlas_manifests::log::anchor`; not when to ask: `anchorer`.

mod anchorer;
mod schedule;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::anchor::answer::MAX_ANSWER;
use atlas_manifests::log::anchor::shelf::ShelfError;
use atlas_manifests::log::anchor::{AnchorError, AnchorRequest, Answer};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::memory::{Both, MemoryError};
use atlas_manifests::log::proof::Proof;
use atlas_manifests::log::reader::{LogError, LogReader};

pub use anchorer::{Anchorer, Settings};
pub use schedule::{Backoff, Schedule};

use crate::http::{Failure, Http, HttpError, Reply, join};
use crate::remote::Remote;

/// How long an answer may take, where nothing else is set: the log answers once the entry is in a checkpoint, which takes about a second.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// So much of a refusal is repeated, in characters.
const MAX_SAID: usize = 200;

/// Why there is no anchor.
#[derive(Debug, thiserror::Error)]
pub enum RekorError {
    /// Nobody was reached, or the connection broke.
    #[error("the public log is not reached: {0}")]
    Unreachable(HttpError),
    /// No answer in time. The entry may be in the log nevertheless.
    #[error("the public log does not answer in time: {0}")]
    Late(HttpError),
    /// The address is none, or the server sends elsewhere.
    #[error("the public log's address is not right: {0}")]
    Address(HttpError),
    /// It cannot do it now.
    #[error("{url} answers {status}: it is asked again later")]
    Busy {
        /// What was asked.
        url: String,
        /// HTTP's number.
        status: u16,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// It does not want this.
    #[error("{url} refuses the entry with {status}: {said:?}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP's number.
        status: u16,
        /// The beginning of what it says.
        said: String,
    },
    /// It has the entry, and does not show its proof.
    #[error("{url} has this entry already and does not prove it: {why}")]
    Duplicate {
        /// What was asked.
        url: String,
        /// Why there is no proof.
        why: String,
    },
    /// There is an answer that is too long, or no HTTP.
    #[error("the public log answers what is not read: {0}")]
    Unreadable(HttpError),
    /// What it answers is no entry, or is not to be believed.
    #[error("the public log's answer is not used: {0}")]
    Answer(#[from] AnchorError),
    /// It shows less than it has shown before: an old copy, or a log that took something back.
    #[error("the public log {} went back from {} leaves to {}: both its checkpoints are kept, in {kept:?}: compare with others and choose another log", .both.shown.head.origin, .both.remembered.head.head.size, .both.shown.head.head.size)]
    Rollback {
        /// What it showed, as it signed it.
        both: Box<Both>,
        /// Where that is kept.
        kept: Vec<PathBuf>,
    },
    /// It shows another history than before.
    #[error("the public log {} has two histories, of {} and {} leaves: both its checkpoints are kept, in {kept:?}: believe it no more and show them to others", .both.shown.head.origin, .both.remembered.head.head.size, .both.shown.head.head.size)]
    Split {
        /// What it showed, as it signed it.
        both: Box<Both>,
        /// Where that is kept.
        kept: Vec<PathBuf>,
    },
    /// Our own log was anchored with another root.
    #[error(
        "our log had the root {was} when it had {size} leaves, and this was anchored: now it has {is}"
    )]
    OwnSplit {
        /// How many leaves.
        size: u64,
        /// What was anchored.
        was: Sha256,
        /// What was to be anchored now.
        is: Sha256,
    },
    /// What is to be anchored is not signed by our log.
    #[error("a checkpoint that our log {0:?} did not sign is not anchored")]
    NotOurs(String),
    /// The key does not sign.
    #[error("the key of anchors: {0}")]
    Key(#[from] io::Error),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] ShelfError),
    /// What the public log showed before cannot be read or stored.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl RekorError {
    /// Whether the same may succeed soon without anybody's doing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Late(_) | Self::Busy { .. } => true,
            Self::Answer(e) => matches!(e, AnchorError::Lagging { .. }),
            Self::Address(_)
            | Self::Refused { .. }
            | Self::Duplicate { .. }
            | Self::Unreadable(_)
            | Self::Rollback { .. }
            | Self::Split { .. }
            | Self::OwnSplit { .. }
            | Self::NotOurs(_)
            | Self::Key(_)
            | Self::Store(_)
            | Self::Memory(_) => false,
        }
    }

    /// How long the log wants to be left alone.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }
}

impl From<HttpError> for RekorError {
    fn from(e: HttpError) -> Self {
        match e.kind {
            Failure::Address => Self::Address(e),
            Failure::Late => Self::Late(e),
            Failure::Broken => Self::Unreachable(e),
            Failure::Answer => Self::Unreadable(e),
        }
    }
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// What the log says of it. None of it is checked.
    Entry(Box<Answer>),
    /// The log has it already, as it says at this place, and proves nothing.
    Duplicate(Option<u64>),
}

/// One Rekor, where it is served.
#[derive(Debug, Clone)]
pub struct Rekor {
    http: Http,
    url: String,
    tiles: Remote,
}

impl Rekor {
    /// The one at this URL, without `/api`. Nothing is asked yet.
    pub fn new(http: Http, url: &str) -> Self {
        let tiles = Remote::new(http.clone(), &join(url, "api/v2"));
        let url = join(url, "api/v2/log/entries");
        Self { http, url, tiles }
    }

    /// Where entries are posted.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts an entry, and waits until the log has it in a checkpoint.
    ///
    /// # Errors
    /// When there is no such answer.
    pub fn post(&self, request: &AnchorRequest) -> Result<Posted, RekorError> {
        let (kind, body) = ("application/json", request.json());
        let reply = self
            .http
            .post(&self.url, kind, body.as_bytes(), MAX_ANSWER as u64)?;
        self.posted(&reply)
    }

    fn posted(&self, reply: &Reply) -> Result<Posted, RekorError> {
        let number = |text: &Option<String>| text.as_ref()?.trim().parse::<u64>().ok();
        let url = || self.url.clone();
        match reply.status {
            201 => Ok(Posted::Entry(Box::new(Answer::parse(&reply.body)?))),
            409 => Ok(Posted::Duplicate(number(&reply.log_index))),
            // Not implemented: that stays so.
            status @ (429 | 500 | 502..=599) => Err(RekorError::Busy {
                url: url(),
                status,
                after: number(&reply.retry_after).map(Duration::from_secs),
            }),
            status => Err(RekorError::Refused {
                url: url(),
                status,
                said: String::from_utf8_lossy(&reply.body)
                    .chars()
                    .take(MAX_SAID)
                    .collect(),
            }),
        }
    }

    /// The proof of the entry at a place, from the log's tiles, up to its newest checkpoint. None of it is checked but that they fit each other.
    ///
    /// # Errors
    /// When the log serves no tiles, or not such ones.
    pub fn proof(&self, index: u64) -> Result<Proof, LogError> {
        LogReader::open(self.tiles.clone())?.proof(index)
    }

    /// The proof that the log grew to this head, from its tiles.
    ///
    /// # Errors
    /// When the log serves no tiles, or not such ones.
    pub fn growth(&self, old: u64, shown: &Checkpoint) -> Result<Vec<Sha256>, LogError> {
        let reader = LogReader::at(self.tiles.clone(), shown.clone())?;
        reader.consistency(old, shown.head.head.size)
    }
}
