//! Other leaves of the log that are about a manifest or its instance: revocations, beginning and end. A leaf that is not shown says nothing: only who
//! reads the whole log knows that there is none.

use super::{Case, Flaw, Judgement, Stop};
use crate::digest::Sha256;
use crate::log::leaf::{Leaf, Revoked};
use crate::log::operator::CertifiedLog;
use crate::log::proof::Proof;
use crate::merkle::leaf_hash;

use super::super::Memo;

/// What an instance's first leaf says.
type Beginning = (u64, Option<Sha256>, Sha256, Option<Sha256>);

impl Case<'_> {
    /// `index` is that of the manifest; `None` when it is not logged.
    pub(super) fn leaves(
        &self,
        log: &CertifiedLog,
        index: Option<u64>,
        j: &mut Judgement,
        memo: &mut Memo,
    ) -> Result<(), Stop> {
        let mut began: Option<Beginning> = None;
        for bytes in &self.logged.leaves {
            let proof = Proof::parse(bytes).map_err(|e| Flaw::bad(e.to_string()))?;
            let said = proof.extra.as_deref().unwrap_or_default();
            let leaf = Leaf::decode(said).map_err(|e| Flaw::bad(e.to_string()))?;
            if !self.concerns(&leaf) {
                continue;
            }
            let head = self.head(&proof.checkpoint, log, j, memo)?;
            if !proof.holds(&leaf_hash(said)) {
                let text = format!("the proof of a {} in the log does not hold", leaf.kind());
                return Err(Flaw::bad(text).into());
            }
            for flaw in &head.flaws {
                if !j.flaws.contains(flaw) {
                    j.flaws.push(flaw.clone());
                }
            }
            self.leaf(&leaf, proof.index, index, &mut began, j);
        }
        Ok(())
    }

    fn concerns(&self, leaf: &Leaf) -> bool {
        match leaf {
            Leaf::Revocation { what, .. } => match what {
                Revoked::Manifest(manifest) => *manifest == self.entry.manifest,
                Revoked::Instance(instance) => *instance == self.entry.instance,
            },
            Leaf::Instance { instance, .. } => *instance == self.entry.instance,
            Leaf::Anchor { instance, last, .. } => *last && *instance == self.entry.instance,
            Leaf::Manifest { .. } | Leaf::Inputs { .. } => false,
        }
    }

    fn leaf(
        &self,
        leaf: &Leaf,
        at: u64,
        index: Option<u64>,
        began: &mut Option<Beginning>,
        j: &mut Judgement,
    ) {
        let after = index.is_none_or(|index| index > at);
        match leaf {
            Leaf::Revocation { what, reason } => {
                let reason = reason.as_str();
                let text = match what {
                    Revoked::Manifest(_) => format!("it was revoked in the log, as {reason}"),
                    Revoked::Instance(_) if after && index.is_some() => format!(
                        "signed after revocation: the instance that sealed it was revoked before, as {reason}"
                    ),
                    Revoked::Instance(_) if after => format!(
                        "the instance that sealed it was revoked, as {reason}, and it was not logged before"
                    ),
                    // What was logged before is what it was.
                    Revoked::Instance(_) => return,
                };
                let remedy = "use another version, or ask who revoked it";
                j.flaws.push(Flaw::bad(text).remedy(remedy));
            }
            Leaf::Anchor { .. } if after && index.is_some() => {
                let text = "sealed after its instance had ended: the log says so";
                j.flaws.push(Flaw::bad(text).remedy(""));
            }
            Leaf::Instance {
                evidence,
                seal_key,
                log_key,
                ..
            } => {
                let now = (at, *evidence, *seal_key, *log_key);
                if began.replace(now).is_some_and(|before| before.0 != at) {
                    let text = "its instance began twice in the log: one id was used for two lives";
                    j.flaws.push(Flaw::bad(text).remedy(""));
                }
                if *seal_key != self.reading.key {
                    let text = "the log says that its instance seals with another key";
                    j.flaws.push(Flaw::bad(text).remedy(""));
                }
                if *evidence != self.reading.evidence {
                    let text = "the log says that other evidence stands behind its instance";
                    j.flaws.push(Flaw::bad(text).remedy(""));
                }
                if index.is_some_and(|index| index < at) {
                    let text = "it stands in the log before its instance began";
                    j.flaws.push(Flaw::bad(text).remedy(""));
                }
            }
            Leaf::Anchor { .. } | Leaf::Manifest { .. } | Leaf::Inputs { .. } => {}
        }
    }
}
