//! Asks witnesses to cosign (C2SP tlog-witness), and what they last cosigned. Not when they are asked, nor how many are enough
//! (`atlas_manifests::log::quorum`). Cosignatures are Ed25519; ML-DSA-44 is not understood, and such lines are passed over.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::cosignature::{Witnessed, witnessed};
use atlas_manifests::log::note::{MAX_NOTE, Signature, Signed, VerifierKey};
use atlas_manifests::log::quorum::KnownWitness;

use crate::http::{Failure, Http, HttpError, Reply, join};
use crate::request::{Request, decimal};

/// How far a witness' clock may be from ours.
pub const SKEW: Duration = Duration::from_secs(300);
/// What a witness answers is never longer, in bytes.
const MAX_ANSWER: u64 = MAX_NOTE as u64;
/// The type of the size that a witness remembers.
const SIZE: &str = "text/x.tlog.size";

/// A witness that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix; what it last cosigned is looked for below it too.
    pub url: String,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This line is its cosignature, of now.
    Cosigned(Signature),
    /// It says that it cosigned a larger head of this log than the one it was asked to: this one is old, and nothing may be signed on it.
    Ahead {
        /// How large.
        size: u64,
        /// What the witness shows for it: signed by this log, and larger. `None`: it only says so.
        shown: Option<Box<Checkpoint>>,
    },
    /// It says that it cosigned another history of this log.
    Conflict {
        /// What the witness shows for it: signed by this log, and of the same size or smaller. `None`: it only says so.
        shown: Option<Box<Checkpoint>>,
    },
    /// It gave no answer that means anything.
    Unreachable(String),
}

/// The proof of consistency from a size to the checkpoint's.
pub type Proofs<'a> = dyn Fn(u64) -> Result<Vec<Sha256>, String> + Sync + 'a;

impl Witness {
    /// One that a policy names with a URL.
    pub fn of(known: &KnownWitness) -> Option<Self> {
        Some(Self {
            name: known.label(),
            key: known.key.clone(),
            url: known.url.clone()?,
        })
    }

    /// Asks it to cosign. `log` is the key that signed the checkpoint, `old` the size that the witness is believed to remember, 0 when that is
    /// not known.
    pub fn ask(
        &self,
        http: &Http,
        checkpoint: &Checkpoint,
        log: &VerifierKey,
        old: u64,
        proofs: &Proofs<'_>,
    ) -> Answer {
        let size = checkpoint.head.head.size;
        let mut old = old.min(size);
        // Once with what is believed, once with what the witness says.
        for last in [false, true] {
            let reply = match self.post(http, checkpoint, old, proofs) {
                Ok(reply) => reply,
                Err(why) => return Answer::Unreachable(why),
            };
            match reply.status {
                200 => {
                    return self
                        .line(checkpoint, &reply.body)
                        .map_or_else(Answer::Unreachable, Answer::Cosigned);
                }
                409 => {
                    let Some(theirs) = remembered(&reply) else {
                        return Answer::Unreachable("answers 409 without a size".to_owned());
                    };
                    if theirs > size {
                        let shown = self
                            .shown(http, checkpoint, log)
                            .filter(|c| c.size() > size);
                        return Answer::Ahead {
                            size: theirs,
                            shown: shown.map(|s| Box::new(s.0)),
                        };
                    }
                    if last || theirs == old {
                        return Answer::Unreachable("answers 409 again".to_owned());
                    }
                    old = theirs;
                }
                // The proof is right for what this log has: what the witness has is something else.
                422 => {
                    let shown = self.shown(http, checkpoint, log).filter(|c| {
                        let head = &c.0.head.head;
                        head.size <= size && *head != checkpoint.head.head
                    });
                    return Answer::Conflict {
                        shown: shown.map(|s| Box::new(s.0)),
                    };
                }
                404 => return Answer::Unreachable("does not know this log (404)".to_owned()),
                403 => {
                    return Answer::Unreachable("knows another key of this log (403)".to_owned());
                }
                other => return Answer::Unreachable(format!("answers {other}")),
            }
        }
        Answer::Unreachable("answers 409 again".to_owned())
    }

    /// The head of a log that it last cosigned, with the log's signature and its own, both checked; `None`: it never cosigned one.
    ///
    /// # Errors
    /// When there is no answer, or not such a head.
    pub fn head(
        &self,
        http: &Http,
        origin: &str,
        log: &VerifierKey,
    ) -> Result<Option<Checkpoint>, HttpError> {
        let hash = Sha256::of(origin.as_bytes()).hex();
        let url = join(&self.url, &format!("{hash}/checkpoint"));
        let reply = http.get(&url, MAX_ANSWER)?;
        let wrong = |why: String| HttpError {
            url: url.clone(),
            kind: Failure::Answer,
            why,
        };
        match reply.status {
            200 => {}
            404 => return Ok(None),
            other => return Err(wrong(format!("answers {other}"))),
        }
        let shown = Checkpoint::parse(&reply.body).map_err(|e| wrong(e.to_string()))?;
        if shown.head.origin != origin {
            return Err(wrong("answers with another log's checkpoint".to_owned()));
        }
        if shown.signed_by_log(log) != Signed::Yes {
            return Err(wrong(
                "shows a checkpoint that the log did not sign".to_owned(),
            ));
        }
        match witnessed(&shown, &self.key) {
            Witnessed::At(_) => Ok(Some(shown)),
            Witnessed::No | Witnessed::Forged => Err(wrong(
                "shows a checkpoint that it did not cosign".to_owned(),
            )),
        }
    }

    /// What it shows for what it said. It may be that it only said so.
    fn shown(&self, http: &Http, ours: &Checkpoint, log: &VerifierKey) -> Option<Shown> {
        self.head(http, &ours.head.origin, log)
            .ok()
            .flatten()
            .map(Shown)
    }

    fn post(
        &self,
        http: &Http,
        checkpoint: &Checkpoint,
        old: u64,
        proofs: &Proofs<'_>,
    ) -> Result<Reply, String> {
        let proof = if old == 0 || old == checkpoint.head.head.size {
            Vec::new()
        } else {
            proofs(old)?
        };
        let request = Request {
            old,
            proof,
            note: checkpoint.note.clone(),
        };
        let url = join(&self.url, "add-checkpoint");
        http.post(
            &url,
            "text/plain; charset=utf-8",
            &request.encode(),
            MAX_ANSWER,
        )
        .map_err(|e| e.to_string())
    }

    /// Its own line among those that it answered with. Lines of keys that are not known mean nothing.
    fn line(&self, checkpoint: &Checkpoint, body: &[u8]) -> Result<Signature, String> {
        let text = std::str::from_utf8(body).map_err(|_| "its answer is not UTF-8".to_owned())?;
        let lines = Signature::parse_all(text).map_err(|e| e.to_string())?;
        let now = now();
        let mut said = Err("its answer has no cosignature of its key".to_owned());
        for line in lines.into_iter().filter(|l| self.key.made(l)) {
            let mut alone = checkpoint.clone();
            alone.note.signatures = vec![line.clone()];
            let Witnessed::At(time) = witnessed(&alone, &self.key) else {
                return Err("its cosignature is forged".to_owned());
            };
            if time == 0 || time.abs_diff(now) > SKEW.as_secs() {
                let said_now = now;
                return Err(format!(
                    "its cosignature is of {time}, and now is {said_now} (seconds since 1970): look at both clocks"
                ));
            }
            said = Ok(line);
        }
        said
    }
}

/// A checkpoint that is the log's and the witness' own.
struct Shown(Checkpoint);

impl Shown {
    fn size(&self) -> u64 {
        self.0.head.head.size
    }
}

/// Asks all of them at the same time, each with the size that it is believed to remember. Answers come in their order.
pub fn ask_all(
    http: &Http,
    witnesses: &[(Witness, u64)],
    checkpoint: &Checkpoint,
    log: &VerifierKey,
    proofs: &Proofs<'_>,
) -> Vec<Answer> {
    thread::scope(|scope| {
        let asked: Vec<_> = witnesses
            .iter()
            .map(|(witness, old)| {
                thread::Builder::new()
                    .spawn_scoped(scope, || witness.ask(http, checkpoint, log, *old, proofs))
            })
            .collect();
        let lost = || Answer::Unreachable("no thread to ask it".to_owned());
        asked
            .into_iter()
            .map(|a| a.map_or_else(|_| lost(), |a| a.join().unwrap_or_else(|_| lost())))
            .collect()
    })
}

/// The size in a 409, which has exactly one type and one line.
fn remembered(reply: &Reply) -> Option<u64> {
    if reply.content_type.as_deref() != Some(SIZE) {
        return None;
    }
    decimal(std::str::from_utf8(&reply.body).ok()?.strip_suffix('\n')?)
}

/// Seconds since 1970; 0 where the clock is before that.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
