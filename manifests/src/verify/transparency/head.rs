//! Whether a log's head can be believed: the log's signature, the key that a quote binds, the witnesses, what was seen before. Each head once.

use std::path::Path;
use std::sync::Arc;

use super::facts::{Conflict, Witness, time};
use super::{Case, Flaw, Judgement, SKEW, Stop};
use crate::digest::Sha256;
use crate::evidence::binding::spki_digest;
use crate::log::checkpoint::Checkpoint;
use crate::log::memory::{Both, Judged, Memory, MemoryError};
use crate::log::note::{KeyKind, Signature, Signed, VerifierKey};
use crate::log::operator::CertifiedLog;
use crate::log::quorum::{Quorum, Says};
use crate::merkle::is_consistent;
use crate::shelf::ShelfError;
use crate::statement::SetHead;
use crate::vocabulary::Tier;

use super::super::{Code, Memo, standing};

const SPLIT_REMEDY: &str = "this log cannot be trusted: keep both checkpoints, and show them to its operator and its witnesses";

/// What was found about one head.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) flaws: Vec<Flaw>,
    pub(super) witnesses: Vec<Witness>,
    pub(super) uncompared: Option<String>,
    pub(super) conflict: Option<Conflict>,
}

/// What stands behind the second signature of a head.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) flaws: Vec<Flaw>,
    /// The name of the key.
    pub(super) signer: Option<String>,
}

impl Case<'_> {
    /// Judges a head; one that the log did not sign ends everything.
    pub(super) fn head(
        &self,
        checkpoint: &Checkpoint,
        log: &CertifiedLog,
        j: &mut Judgement,
        memo: &mut Memo,
    ) -> Result<Arc<Head>, Stop> {
        let name = Sha256::of(&checkpoint.encode());
        if let Some(known) = memo.logs.heads.get(&name) {
            // Memoised only once its signature held, and by this log's key: another log's certificate has another origin or key.
            if signed(checkpoint, log).is_ok() {
                return Ok(Arc::clone(known));
            }
        }
        signed(checkpoint, log)?;
        let mut head = Head::default();
        if let Some(quorum) = &self.terms.log.witnesses {
            self.witnesses(&mut head, quorum, checkpoint);
        }
        let seen = memo
            .logs
            .seen
            .entry(checkpoint.head.origin.clone())
            .or_default();
        let size = checkpoint.head.head.size;
        let before = seen.entry(size).or_insert_with(|| checkpoint.clone());
        if before.head.head.root != checkpoint.head.head.root {
            let both = Both {
                remembered: before.clone(),
                shown: checkpoint.clone(),
            };
            head.split(&both);
        } else if let Some(dir) = &self.terms.log.heads {
            self.compare(&mut head, dir, checkpoint, log, j, &mut memo.logs.told);
        }
        let head = Arc::new(head);
        memo.logs.heads.insert(name, Arc::clone(&head));
        Ok(head)
    }

    fn witnesses(&self, head: &mut Head, quorum: &Quorum, checkpoint: &Checkpoint) {
        let policy = &self.terms.appraiser.policy.log;
        let now = self.terms.appraiser.clock.0;
        let said = quorum.judge(checkpoint, Some(now), SKEW);
        if said.forged() {
            let text =
                "the checkpoint carries a line of a known log or witness that its key did not make";
            head.flaws.push(Flaw::bad(text));
        }
        if !quorum.logs().is_empty() && said.log.is_none() {
            let text = "its log is not among those that the witness policy names";
            let remedy = "add the log's key to it, or name no log there";
            head.flaws.push(Flaw::weak(policy.require, text, remedy));
        }
        let oldest = policy
            .max_cosignature_age_seconds
            .map_or(0, |most| now.saturating_sub(most));
        let counts = |says: &Says| matches!(says, Says::Cosigned(t) if *t >= oldest);
        let (mut old, mut future, mut undated) = (0u64, Vec::new(), 0u64);
        for (witness, says) in quorum.witnesses().iter().zip(&said.witnesses) {
            match says {
                Says::Cosigned(t) if *t >= oldest => head.witnesses.push(Witness {
                    name: witness.label(),
                    time: time(*t),
                }),
                Says::Cosigned(_) => old += 1,
                Says::Future(t) => future.push(format!("{} ({})", witness.label(), time(*t))),
                Says::Undated => undated += 1,
                Says::Nothing | Says::Forged => {}
            }
        }
        if !future.is_empty() {
            let text = format!(
                "cosigned in the future, which counts for nothing: {}",
                future.join(", ")
            );
            let remedy = "check this machine's clock";
            head.flaws.push(Flaw::weak(false, text, remedy));
        }
        if !quorum.met_by(|w| said.witnesses.get(w).is_some_and(counts)) {
            let mut text = format!(
                "not enough witnesses cosigned its checkpoint: {} of {} that the policy names",
                head.witnesses.len(),
                quorum.witnesses().len()
            );
            for (n, what) in [(old, "too long ago"), (undated, "without a time")] {
                if n > 0 {
                    text.push_str(&format!(", and {n} {what}"));
                }
            }
            let remedy = "witnesses cosign after a while: verify again, with the log or a bundle that is newer";
            head.flaws.push(Flaw::weak(policy.require, text, remedy));
        }
    }

    /// Whether the log still has what is remembered, above the head that it shows.
    fn goes_on(&self, both: &Both) -> bool {
        let (shown, remembered) = (&both.shown.head.head, &both.remembered.head.head);
        let proof = self
            .shelf
            .growth(self.entry.node, shown.size, remembered.size);
        matches!(proof, Ok(Some(proof)) if is_consistent(shown, remembered, &proof))
    }

    /// Against what this verifier remembers, which it then does of this head too.
    fn compare(
        &self,
        head: &mut Head,
        dir: &Path,
        checkpoint: &Checkpoint,
        log: &CertifiedLog,
        j: &mut Judgement,
        told: &mut bool,
    ) {
        let live = self.logged.live;
        let grown = |old: &SetHead, new: &SetHead| {
            let proof = self.shelf.growth(self.entry.node, old.size, new.size);
            match proof {
                Ok(Some(proof)) => Ok(proof),
                Ok(None) => Err("it is not here".to_owned()),
                Err(e) => Err(e.to_string()),
            }
        };
        let judged =
            Memory::open(dir).and_then(|memory| memory.observe(checkpoint, &log.key, grown));
        match judged {
            Ok(Judged::First | Judged::Same | Judged::Grown { .. }) => {}
            Ok(Judged::Split(both)) => head.split(&both),
            // An older head is shown, for the sake of its signatures, by a log that has not lost what came after it.
            Ok(Judged::Rollback(both)) if live && self.goes_on(&both) => {}
            Ok(Judged::Rollback(both)) if live => {
                let was = both.remembered.head.head.size;
                let is = both.shown.head.head.size;
                let text = format!(
                    "the log had {was} leaves when this verifier saw it before, and shows {is} now: it was set back, or this is an old copy of it"
                );
                head.conflict = Some(Conflict::of("rollback", &both));
                let remedy = "if it is a copy that you made, say --heads none; else keep both checkpoints as evidence";
                head.flaws.push(Flaw::bad(text).remedy(remedy));
            }
            Ok(Judged::Rollback(both)) => {
                let was = both.remembered.head.head.size;
                let text = format!(
                    "this verifier knows a later head of the log, of {was} leaves, and a bundle cannot show that the one grew from the other"
                );
                let remedy = "verify with the log itself, or with a newer bundle";
                head.flaws.push(Flaw::weak(false, text.clone(), remedy));
                head.uncompared = Some(text);
            }
            Err(MemoryError::NoProof { old, new, why, .. }) if live => {
                let text = format!(
                    "the log does not show that it grew from the {old} leaves that this verifier saw before to {new}: {why}"
                );
                head.flaws.push(Flaw::bad(text));
            }
            Err(MemoryError::NoProof { old, .. }) => {
                let text = format!(
                    "this verifier knows an earlier head of the log, of {old} leaves, and a bundle cannot show that the one grew from the other"
                );
                let remedy = "verify with the log itself, or with a newer bundle";
                head.flaws.push(Flaw::weak(false, text.clone(), remedy));
                head.uncompared = Some(text);
            }
            Err(e @ MemoryError::Unsigned { .. }) => {
                let text =
                    format!("its key is not that of the log that this verifier saw before: {e}");
                head.flaws.push(Flaw::bad(text));
            }
            Err(e @ MemoryError::Io { .. }) => {
                if !std::mem::replace(told, true) {
                    let text = format!("the heads of logs cannot be remembered: {e}");
                    let remedy =
                        "give a directory that can be written with --heads, or say --heads none";
                    // It says nothing of the log: the check stays what it is.
                    let quiet = Flaw::weak(false, text, remedy);
                    j.flaws.push(Flaw {
                        tier: Tier::None,
                        ..quiet
                    });
                }
            }
            Err(e @ (MemoryError::Damaged { .. } | MemoryError::Busy { .. })) => {
                let flaw = Flaw::weak(true, e.to_string(), "");
                head.flaws.push(Flaw {
                    code: Code::Other,
                    ..flaw
                });
            }
        }
    }

    /// The signature of a key that a quote binds: the line's name is the log's, and the digest of the binding.
    pub(super) fn bound(
        &self,
        checkpoint: &Checkpoint,
        memo: &mut Memo,
    ) -> Result<Arc<Bound>, ShelfError> {
        let name = Sha256::of(&checkpoint.encode());
        if let Some(known) = memo.logs.bounds.get(&name) {
            return Ok(Arc::clone(known));
        }
        let keys = instance_keys(&self.logged.keys, checkpoint);
        let mut found = Bound::default();
        let mut refused = None;
        for (key, evidence) in keys {
            match self.holds(checkpoint, &key, evidence, memo)? {
                Ok(simulated) => {
                    found.signer = Some(key.name().to_owned());
                    if simulated && !self.terms.appraiser.policy.simulated.allow {
                        let text =
                            "the key that signed the checkpoint is bound by SIMULATED evidence";
                        let remedy = "for tests, say --allow-simulated";
                        let flaw = Flaw::weak(true, text, remedy);
                        found.flaws.push(Flaw {
                            code: Code::Simulated,
                            ..flaw
                        });
                    }
                    break;
                }
                // What is bad says more than what is missing.
                Err(flaw) => {
                    let worse = |f: &Flaw| f.tier == Tier::Contraindicated;
                    if refused.as_ref().is_none_or(|r| !worse(r)) {
                        refused = Some(flaw);
                    }
                }
            }
        }
        if found.signer.is_none() {
            let demanded = self.terms.appraiser.policy.log.bound_key;
            let none = || {
                let text = "the checkpoint is not signed by a key that a quote binds";
                Flaw::weak(demanded, text, "")
            };
            found.flaws.push(refused.unwrap_or_else(none));
        }
        let found = Arc::new(found);
        memo.logs.bounds.insert(name, Arc::clone(&found));
        Ok(found)
    }

    /// Whether this key signed and its evidence is good; whether that is a simulator's.
    fn holds(
        &self,
        checkpoint: &Checkpoint,
        key: &VerifierKey,
        evidence: Sha256,
        memo: &mut Memo,
    ) -> Result<Result<bool, Flaw>, ShelfError> {
        let demanded = self.terms.appraiser.policy.log.bound_key;
        if checkpoint.note.signed_by(key) != Signed::Yes {
            let text = "the checkpoint carries a line of an instance's key that it did not make";
            return Ok(Err(Flaw::bad(text)));
        }
        let appraiser = &self.terms.appraiser;
        let a = standing::appraised(self.shelf, appraiser, evidence, memo)?;
        let bad = a.findings.iter().find(|f| f.tier == Tier::Contraindicated);
        if let Some(bad) = bad {
            let text = format!(
                "the evidence behind the key that signed the checkpoint is refused: {}: {}",
                bad.check.as_str(),
                bad.text
            );
            return Ok(Err(Flaw::bad(text).remedy(bad.remedy)));
        }
        let Some(bound) = a.log_key else {
            let text = format!(
                "the evidence that the checkpoint's second signature names ({evidence}) is not here, or binds no key for logs"
            );
            return Ok(Err(Flaw::weak(demanded, text, "")));
        };
        if bound != spki_digest(key.public()) {
            let text =
                "the evidence that the checkpoint's second signature names binds another key";
            return Ok(Err(Flaw::bad(text)));
        }
        let lacking = appraiser.demanded().into_iter().find(|c| a.lacks(*c));
        if let Some(check) = lacking.filter(|_| appraiser.demands() || demanded) {
            let text = format!(
                "there is not enough evidence for {} behind the key that signed the checkpoint",
                check.as_str()
            );
            return Ok(Err(Flaw::weak(true, text, "")));
        }
        if a.facts.hardware == crate::vocabulary::Hardware::None {
            let text = "the evidence behind the key that signed the checkpoint cannot be checked";
            return Ok(Err(Flaw::weak(demanded, text, "")));
        }
        Ok(Ok(a.simulated()))
    }
}

impl Head {
    fn split(&mut self, both: &Both) {
        let (a, b) = (both.remembered.head.head, both.shown.head.head);
        let text = if a.size == b.size {
            format!(
                "SPLIT VIEW: the log signed two heads of {} leaves with different roots",
                a.size
            )
        } else {
            format!(
                "SPLIT VIEW: the log signed heads of {} and {} leaves, and the larger does not grow from the smaller",
                a.size, b.size
            )
        };
        self.conflict = Some(Conflict::of("split", both));
        self.flaws.push(Flaw::bad(text).remedy(SPLIT_REMEDY));
    }
}

/// Whether the log with this key signed it.
pub(super) fn signed(checkpoint: &Checkpoint, log: &CertifiedLog) -> Result<(), Flaw> {
    if checkpoint.head.origin != log.key.name() {
        return Err(Flaw::bad("its checkpoint is of another log"));
    }
    match checkpoint.signed_by_log(&log.key) {
        Signed::Yes => Ok(()),
        Signed::No => Err(Flaw::bad("its checkpoint is not signed by the log")),
        Signed::Forged => Err(Flaw::bad(
            "its checkpoint carries a signature of the log that the log did not make",
        )),
    }
}

/// Keys of instances that a line of the checkpoint names, each with the evidence that its name says binds it.
fn instance_keys(keys: &[u8], checkpoint: &Checkpoint) -> Vec<(VerifierKey, Sha256)> {
    let evidence = |line: &Signature| {
        let rest = line.name.strip_prefix(&checkpoint.head.origin)?;
        Sha256::from_hex(rest.strip_prefix('/')?).ok()
    };
    let named: Vec<(&Signature, Sha256)> = checkpoint
        .note
        .signatures
        .iter()
        .filter_map(|line| Some((line, evidence(line)?)))
        .collect();
    if named.is_empty() {
        return Vec::new();
    }
    let keys = String::from_utf8_lossy(keys);
    // A key that is not written as it should be is no key: then nothing is signed by it.
    let mut found: Vec<(VerifierKey, Sha256)> = Vec::new();
    for text in keys.lines() {
        let line = named.iter().find(|(l, _)| text.starts_with(&l.name));
        let Some((line, evidence)) = line else {
            continue;
        };
        let key = text.parse::<VerifierKey>().ok();
        let key = key.filter(|k| k.kind() == KeyKind::Ed25519 && k.made(line));
        if let Some(key) = key.filter(|k| found.iter().all(|(f, _)| f != k)) {
            found.push((key, *evidence));
        }
    }
    found
}
