//! Whether a manifest stands in its node's log, under a head that can be believed, and whether the log takes it back. Judges what a shelf shows;
//! where that lies, and how it came there, is not known here.
//!
//! What is bad is bad whatever a policy says: a line that its key did not make, a proof that proves nothing, a revocation, two histories. What is
//! missing or weak is a warning, or a failure where the policy demands it.

mod facts;
mod head;
mod leaves;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

pub use facts::{Conflict, LogFacts, Witness};
use head::{Bound, Head};

use super::{Code, FileVerdict, Memo, Terms};
use crate::digest::Sha256;
use crate::evidence::binding::spki_digest;
use crate::log::checkpoint::Checkpoint;
use crate::log::leaf::Leaf;
use crate::log::operator::{CertifiedLog, certified};
use crate::log::proof::Proof;
use crate::log::quorum::Quorum;
use crate::read::Reading;
use crate::shelf::{Entry, Logged, Shelf, ShelfError};
use crate::vocabulary::Tier;

/// A witness' clock may be ahead of the verifier's by so much, in seconds.
const SKEW: u64 = 300;
const RESTORE: &str = "restore the log from a copy, or verify with the bundle that was exported";

/// What a log's head is held against, beside the policy.
#[derive(Debug, Clone, Default)]
pub struct LogTerms {
    /// Which witnesses count, and how many must have cosigned.
    pub witnesses: Option<Quorum>,
    /// The directory with the heads that this verifier saw before, which is made when there is one; `None`: it remembers nothing.
    pub heads: Option<PathBuf>,
}

/// What was found out about logs already. Good for one shelf and one set of terms only.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By the digest of the certificate as it lies there.
    certificates: HashMap<Sha256, Result<Arc<CertifiedLog>, String>>,
    /// By the digest of the checkpoint with its signatures.
    heads: HashMap<Sha256, Arc<Head>>,
    /// What binds the keys that signed, by the same.
    bounds: HashMap<Sha256, Arc<Bound>>,
    /// One head of each size, by origin.
    seen: HashMap<String, BTreeMap<u64, Checkpoint>>,
    /// It was said that the memory of heads cannot be used.
    told: bool,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    tier: Tier,
    /// `Ok` for a warning.
    code: Code,
    text: String,
    remedy: &'static str,
}

impl Flaw {
    fn bad(text: impl Into<String>) -> Self {
        Self {
            tier: Tier::Contraindicated,
            code: Code::Evidence,
            text: text.into(),
            remedy: RESTORE,
        }
    }

    /// A failure where it is demanded.
    fn weak(demanded: bool, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            tier: Tier::Warning,
            code: if demanded { Code::Evidence } else { Code::Ok },
            text: text.into(),
            remedy,
        }
    }

    fn remedy(self, remedy: &'static str) -> Self {
        Self { remedy, ..self }
    }
}

/// What the log says of one manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Judgement {
    flaws: Vec<Flaw>,
    facts: Option<LogFacts>,
    /// The manifest is proven to be in the log.
    proven: bool,
}

impl Judgement {
    fn tier(&self) -> Tier {
        let has = |tier| self.flaws.iter().any(|f| f.tier == tier);
        if has(Tier::Contraindicated) {
            Tier::Contraindicated
        } else if !self.proven {
            Tier::None
        } else if has(Tier::Warning) {
            Tier::Warning
        } else {
            Tier::Affirming
        }
    }

    /// The first thing that is bad, in words.
    pub(super) fn refused(&self) -> Option<&str> {
        let bad = |f: &&Flaw| f.tier == Tier::Contraindicated;
        self.flaws.iter().find(bad).map(|f| f.text.as_str())
    }

    /// Into the verdict.
    pub(super) fn tell(self, v: &mut FileVerdict) {
        v.checks.transparency = self.tier();
        for flaw in self.flaws {
            let text = format!("transparency: {}", flaw.text);
            match flaw.code {
                Code::Ok => v.add_warning(text, flaw.remedy),
                code => v.add_failure(code, text, flaw.remedy),
            }
        }
        v.transparency = self.facts;
    }
}

/// What the log of the manifest's node says of it. The manifest's signature is trusted, or nothing in it says which node and instance are its own.
pub(super) fn of(
    shelf: &dyn Shelf,
    terms: &Terms,
    reading: &Reading,
    memo: &mut Memo,
) -> Result<Judgement, ShelfError> {
    let entry = Entry::of(reading.reference.sha256, &reading.statement);
    let mut j = Judgement::default();
    let require = terms.appraiser.policy.log.require;
    let logged = match shelf.transparency(&entry) {
        Err(ShelfError::Damaged(text)) => {
            j.flaws.push(Flaw::bad(text));
            return Ok(j);
        }
        other => other?,
    };
    let Some(logged) = logged else {
        if require {
            let text = "the policy demands a proof from the log of its node, and there is none";
            let remedy = "verify it where its state is, or with a bundle that was exported since it was logged";
            j.flaws.push(Flaw {
                tier: Tier::None,
                ..Flaw::weak(true, text, remedy)
            });
        }
        return Ok(j);
    };
    let case = Case {
        shelf,
        terms,
        reading,
        entry,
        logged: &logged,
    };
    match case.judge(&mut j, memo) {
        Ok(()) => {}
        Err(Stop::Flaw(flaw)) => j.flaws.push(flaw),
        Err(Stop::Shelf(e)) => return Err(e),
    }
    Ok(j)
}

/// Why judging does not go on.
enum Stop {
    Flaw(Flaw),
    Shelf(ShelfError),
}

impl From<Flaw> for Stop {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<ShelfError> for Stop {
    fn from(e: ShelfError) -> Self {
        Self::Shelf(e)
    }
}

/// One manifest, and what is shown of its log.
struct Case<'a> {
    shelf: &'a dyn Shelf,
    terms: &'a Terms,
    reading: &'a Reading,
    entry: Entry,
    logged: &'a Logged,
}

impl Case<'_> {
    fn judge(&self, j: &mut Judgement, memo: &mut Memo) -> Result<(), Stop> {
        let log = self.certificate(memo)?;
        // Else whoever has the one key could be taken for who has the other.
        if spki_digest(log.key.public()) == self.reading.key {
            return Err(Flaw::bad("one key seals and signs the log").into());
        }
        let index = match &self.logged.proof {
            Some(proof) => Some(self.proof(proof, &log, j, memo)?),
            None => {
                let demanded = self.terms.appraiser.policy.log.require;
                let text = "its node has a log, and it is not in it";
                let remedy = "what is sealed now is logged soon (atlasctl sync); what was sealed before there was a log never is";
                j.flaws.push(Flaw::weak(demanded, text, remedy));
                None
            }
        };
        self.leaves(&log, index, j, memo)
    }

    fn certificate(&self, memo: &mut Memo) -> Result<Arc<CertifiedLog>, Flaw> {
        let name = Sha256::of(&self.logged.certificate);
        let known = memo.logs.certificates.entry(name).or_insert_with(|| {
            certified(&self.logged.certificate, &self.terms.anchors)
                .map(Arc::new)
                .map_err(|e| e.to_string())
        });
        let log = Arc::clone(known.as_ref().map_err(|e| Flaw::bad(e.clone()))?);
        let now = i64::try_from(self.terms.appraiser.clock.0).unwrap_or(i64::MAX);
        if log.node != self.entry.node {
            let text = format!(
                "what is shown is the log of node {}, and it was sealed by node {}",
                log.node, self.entry.node
            );
            return Err(Flaw::bad(text));
        }
        if now < log.valid.0 || now > log.valid.1 {
            let text = "the certificate of the log's key is not valid today";
            return Err(Flaw::bad(text).remedy("check this machine's clock"));
        }
        Ok(log)
    }

    /// The manifest's own leaf; gives its index.
    fn proof(
        &self,
        bytes: &[u8],
        log: &CertifiedLog,
        j: &mut Judgement,
        memo: &mut Memo,
    ) -> Result<u64, Stop> {
        let proof = Proof::parse(bytes).map_err(|e| Flaw::bad(e.to_string()))?;
        let leaf = Leaf::Manifest {
            manifest: self.entry.manifest,
            instance: self.entry.instance,
        };
        let head = self.head(&proof.checkpoint, log, j, memo)?;
        if !proof.holds(&leaf.hash()) {
            let text = "the proof that it is in the log is not about it, or was changed";
            return Err(Flaw::bad(text).into());
        }
        j.facts = Some(LogFacts::of(&proof, &head));
        j.flaws.extend(head.flaws.iter().cloned());
        j.proven = true;
        if self.reading.evidence.is_some() || self.reading.statement.evidence.is_some() {
            let bound = self.bound(&proof.checkpoint, memo)?;
            j.flaws.extend(bound.flaws.iter().cloned());
            if let (Some(facts), Some(signer)) = (&mut j.facts, &bound.signer) {
                facts.signers.push(signer.clone());
            }
        }
        Ok(proof.index)
    }
}
