//! Others who are told of the head: witnesses, who sign that they saw no other, and a public log. On the log's own thread: no seal waits for them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::BoundKey;
use atlas_manifests::given;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::{Signature, VerifierKey};
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::wire::WitnessStatus;
use atlas_net::http::Http;
use atlas_net::witness::{Answer, Witness, ask_all};

use super::guard::extends;
use super::public::PublicLog;
use super::settings::Settings;
use super::{Ground, lock};

/// Heads that come soon after each other are shown together.
const LINGER: Duration = Duration::from_secs(1);
/// After a failure nobody is asked for so long.
const RETRY: Duration = Duration::from_secs(30);
/// A witness answers within so long.
const WITHIN: Duration = Duration::from_secs(8);
/// No policy that is read is longer, in bytes.
const MAX_POLICY: u64 = 256 << 10;

/// Shows heads to others.
pub(super) struct Circulation {
    key: VerifierKey,
    quorum: Quorum,
    witnesses: Vec<Witness>,
    http: Http,
    public: Option<PublicLog>,
    state: Mutex<State>,
}

struct State {
    /// What each witness is known to remember.
    seen: Vec<Option<u64>>,
    /// The size that was shown last, and when.
    shown: u64,
    not_before: Option<Instant>,
    troubles: Vec<String>,
}

/// What a person asks of it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What each witness has seen.
    pub witnesses: Vec<WitnessStatus>,
    /// The newest size that is in a public log.
    pub public: Option<u64>,
    /// What does not work, one line each.
    pub troubles: Vec<String>,
}

/// What came of telling others.
pub(super) enum Told {
    /// Nothing that changes the log.
    Nothing,
    /// The same checkpoint, with the lines of witnesses.
    Cosigned(Box<Checkpoint>),
    /// Somebody shows another head than this log had when it was asked: more of it, or another history.
    Ahead {
        /// Who, in words.
        who: String,
        /// What it shows, signed by this log.
        shown: Box<Checkpoint>,
    },
}

impl Circulation {
    /// Reads who is to be told.
    ///
    /// # Errors
    /// When the policy cannot be read, or names nobody who can be asked.
    pub(super) fn new(dir: &Path, key: &VerifierKey, settings: &Settings) -> Result<Self, String> {
        let quorum = match &settings.witnesses {
            None => Quorum::none(),
            Some(path) => {
                let bytes = given::read(path, MAX_POLICY)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                Quorum::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))?
            }
        };
        let witnesses: Vec<Witness> = quorum.witnesses().iter().filter_map(Witness::of).collect();
        if let (Some(path), true) = (&settings.witnesses, witnesses.is_empty()) {
            return Err(format!(
                "{}: names no witness with its URL: add one, or leave --witnesses out",
                path.display()
            ));
        }
        let public = settings.public.as_ref();
        let public = public.map(|p| PublicLog::new(p, key, dir)).transpose()?;
        Ok(Self {
            key: key.clone(),
            state: Mutex::new(State {
                seen: vec![None; witnesses.len()],
                shown: 0,
                not_before: None,
                troubles: Vec::new(),
            }),
            quorum,
            witnesses,
            http: Http::new(WITHIN),
            public,
        })
    }

    /// The key that signs for the public log, for a quote to bind.
    pub(super) fn anchor_key(&self) -> Option<BoundKey> {
        self.public.as_ref().map(PublicLog::key)
    }

    /// Whether a log that was just opened goes on from what witnesses remember. Who does not answer is passed over, and said.
    ///
    /// # Errors
    /// When one remembers more than there is, or something else.
    pub(super) fn compare(
        &self,
        ground: &Ground<'_>,
        origin: &str,
        now: Option<&Checkpoint>,
    ) -> Result<(), String> {
        let heads: Vec<_> = std::thread::scope(|scope| {
            let ask = |w| scope.spawn(move || self.head(w, origin));
            let asked: Vec<_> = self.witnesses.iter().map(ask).collect();
            let lost = || Err("could not be asked".to_owned());
            asked
                .into_iter()
                .map(|a| a.join().unwrap_or_else(|_| lost()))
                .collect()
        });
        let mut silent = 0;
        let mut state = lock(&self.state);
        for ((witness, head), seen) in self.witnesses.iter().zip(heads).zip(&mut state.seen) {
            let who = format!("the witness {}", witness.name);
            match head {
                Ok(Some(then)) => {
                    extends(ground.dir, ground.named, &who, &then, now)?;
                    *seen = Some(then.head.head.size);
                }
                Ok(None) => {}
                Err(why) => {
                    silent += 1;
                    tracing::warn!("{who} cannot say what it has seen of this log: {why}");
                }
            }
        }
        if silent > 0 && silent == self.witnesses.len() {
            return Err("no witness answers, so nobody can tell whether this log is the newest: start one, or mount without --witnesses".to_owned());
        }
        Ok(())
    }

    fn head(&self, witness: &Witness, origin: &str) -> Result<Option<Checkpoint>, String> {
        witness
            .head(&self.http, origin, &self.key)
            .map_err(|e| e.to_string())
    }

    /// Whether others are to be told of this head now.
    pub(super) fn is_due(&self, newest: &Checkpoint, now: Instant, last: bool) -> bool {
        let wait = self.patience(newest, now);
        wait.is_some_and(|wait| last || wait.is_zero())
    }

    /// How long until they are, if nothing else is logged; `None`: they know this head, or there is nobody.
    pub(super) fn patience(&self, newest: &Checkpoint, now: Instant) -> Option<Duration> {
        let state = lock(&self.state);
        let size = newest.head.head.size;
        let witnesses = (!self.witnesses.is_empty() && size > state.shown).then(|| {
            let at = state.not_before.unwrap_or(now);
            at.saturating_duration_since(now)
        });
        drop(state);
        let public = self.public.as_ref().and_then(|p| p.patience(newest, now));
        witnesses.into_iter().chain(public).min()
    }

    /// Tells them. Takes as long as they do, within bounds.
    pub(super) fn tell(&self, dir: &Path, newest: &Checkpoint, last: bool) -> Told {
        let size = newest.head.head.size;
        if let Some(public) = &self.public {
            public.show(newest, last);
        }
        if self.witnesses.is_empty() || size <= lock(&self.state).shown {
            return Told::Nothing;
        }
        let seen = lock(&self.state).seen.clone();
        let known = seen.iter().map(|s| s.unwrap_or(0));
        let asked: Vec<_> = self.witnesses.iter().cloned().zip(known).collect();
        let proofs = |old: u64| prove(dir, old, size);
        let answers = ask_all(&self.http, &asked, newest, &self.key, &proofs);
        self.take(newest, answers)
    }

    fn take(&self, newest: &Checkpoint, answers: Vec<Answer>) -> Told {
        let size = newest.head.head.size;
        let mut lines: Vec<Signature> = Vec::new();
        let mut troubles = Vec::new();
        let mut seen = lock(&self.state).seen.clone();
        for ((witness, answer), seen) in self.witnesses.iter().zip(answers).zip(&mut seen) {
            let who = format!("the witness {}", witness.name);
            match answer {
                Answer::Cosigned(line) => {
                    lines.push(line);
                    *seen = Some(size);
                }
                Answer::Ahead {
                    shown: Some(shown), ..
                }
                | Answer::Conflict { shown: Some(shown) } => {
                    // Asked again soon: by then it is judged, or this log has grown.
                    lock(&self.state).not_before = Some(Instant::now() + LINGER);
                    return Told::Ahead { who, shown };
                }
                // Whoever cannot show what he says does not stop a log.
                Answer::Ahead { size: more, .. } => troubles.push(format!(
                    "{who} says that it has {more} leaves of this log, and cannot show it"
                )),
                Answer::Conflict { .. } => troubles.push(format!(
                    "{who} says that it has another history of this log, and cannot show it"
                )),
                Answer::Unreachable(why) => troubles.push(format!("{who}: {why}")),
            }
        }
        let mut cosigned = newest.clone();
        let any = !lines.is_empty();
        lines.into_iter().for_each(|line| cosigned.note.add(line));
        let all = troubles.is_empty();
        let enough = self.quorum.judge(&cosigned, None, 0).met;
        let mut state = lock(&self.state);
        for trouble in troubles.iter().filter(|t| !state.troubles.contains(t)) {
            tracing::warn!("{trouble}");
        }
        state.seen = seen;
        state.troubles = troubles;
        if all || enough {
            state.shown = size;
        }
        state.not_before = Some(Instant::now() + if all { LINGER } else { RETRY });
        drop(state);
        if any {
            Told::Cosigned(Box::new(cosigned))
        } else {
            Told::Nothing
        }
    }

    /// What a person asks of it.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.witnesses.iter().zip(&state.seen);
        let public = self.public.as_ref().map(PublicLog::standing);
        let (size, trouble) = public.unwrap_or_default();
        Standing {
            witnesses: names
                .map(|(w, seen)| WitnessStatus {
                    name: w.name.clone(),
                    size: *seen,
                })
                .collect(),
            public: size,
            troubles: state.troubles.iter().cloned().chain(trouble).collect(),
        }
    }
}

/// The proof that the log in `dir` grew from one size to another.
fn prove(dir: &Path, old: u64, new: u64) -> Result<Vec<Sha256>, String> {
    let log = LogReader::open(Directory::new(dir)).map_err(|e| e.to_string())?;
    log.consistency(old, new).map_err(|e| e.to_string())
}
