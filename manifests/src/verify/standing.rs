//! What stands behind the key that signed a manifest: finds its evidence, has it appraised once, and holds the key against it. Decides no exit code.

use std::sync::Arc;

use super::Memo;
use crate::digest::Sha256;
use crate::evidence::appraise::{Appraisal, Appraiser, Check, Finding, Presented};
use crate::evidence::record::Evidence;
use crate::read::Reading;
use crate::shelf::{Object, Shelf, ShelfError};
use crate::vocabulary::{Hardware, Tier};

/// What the evidence says of one manifest.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// A locally held key: no evidence is named, and none is claimed.
    Local,
    /// What was found, with everything that is about this manifest in it.
    Appraised(Box<Appraisal>),
}

impl Standing {
    /// The first thing that is bad in it, in words.
    pub(super) fn refused(&self) -> Option<&Finding> {
        match self {
            Self::Local => None,
            Self::Appraised(a) => a.findings.iter().find(|f| f.tier == Tier::Contraindicated),
        }
    }

    pub(super) fn simulated(&self) -> bool {
        matches!(self, Self::Appraised(a) if a.simulated())
    }

    /// Demanded checks for which there is nothing.
    pub(super) fn lacking(&self, appraiser: &Appraiser) -> Vec<Check> {
        let none = |check: &Check| match self {
            Self::Local => true,
            Self::Appraised(a) => a.lacks(*check),
        };
        appraiser.demanded().into_iter().filter(none).collect()
    }
}

/// Appraises what stands behind a manifest whose signature is trusted.
pub(super) fn of(
    shelf: &dyn Shelf,
    appraiser: &Appraiser,
    reading: &Reading,
    memo: &mut Memo,
) -> Result<Standing, ShelfError> {
    let said = &reading.statement;
    let Some(named) = reading.evidence else {
        if said.hardware == Hardware::None && said.evidence.is_none() {
            return Ok(Standing::Local);
        }
        let mut a = Appraisal::new(Sha256([0; 32]));
        let text =
            "it says that hardware stands behind its key, and its certificate names no evidence";
        a.find(Check::Hardware, Tier::Contraindicated, text, "");
        return Ok(Standing::Appraised(Box::new(a)));
    };
    let found = appraised(shelf, appraiser, named, memo)?;
    let mut a = Appraisal::clone(&found);
    holds_key(&mut a, reading, "instance");
    if said.hardware == Hardware::None {
        let text =
            "its certificate names evidence, and it says that no hardware stands behind its key";
        a.find(Check::KeyBinding, Tier::Contraindicated, text, "");
    }
    // One key for two lives: one of them is not what it says.
    let life = memo.keys.entry(reading.key).or_insert(said.instance);
    if *life != said.instance {
        let text = "its key signed for another instance too";
        a.find(Check::KeyBinding, Tier::Contraindicated, text, "");
    }
    if let Some(own) = said.evidence {
        let mut own = Appraisal::clone(&*appraised(shelf, appraiser, own, memo)?);
        holds_key(&mut own, reading, "manifest");
        if own.claim.is_some_and(|c| c != reading.partial_claim) {
            let text = "the quote was made for another manifest";
            own.find(Check::KeyBinding, Tier::Contraindicated, text, "");
        }
        a.join(own);
    }
    Ok(Standing::Appraised(Box::new(a)))
}

/// The key that signed must be the one that was bound, in the same life of the daemon, for this use.
fn holds_key(a: &mut Appraisal, reading: &Reading, purpose: &str) {
    let Some(bound) = a.seal_key else {
        return;
    };
    let check = Check::KeyBinding;
    if bound != reading.key {
        let text = "its evidence binds another key than the one that signed it";
        a.find(check, Tier::Contraindicated, text, "");
    }
    if a.facts.instance != Some(reading.statement.instance) {
        let text = "its evidence is of another instance than the one that signed it";
        a.find(check, Tier::Contraindicated, text, "");
    }
    if a.facts.purpose.as_deref() != Some(purpose) {
        let text = format!("the evidence that it names was not made for this use ({purpose})");
        a.find(check, Tier::Contraindicated, text, "");
    }
}

/// Appraised once for all manifests that name it.
pub(super) fn appraised(
    shelf: &dyn Shelf,
    appraiser: &Appraiser,
    name: Sha256,
    memo: &mut Memo,
) -> Result<Arc<Appraisal>, ShelfError> {
    if let Some(known) = memo.evidence.get(&name) {
        return Ok(Arc::clone(known));
    }
    let found = Arc::new(appraise(shelf, appraiser, name)?);
    memo.evidence.insert(name, Arc::clone(&found));
    Ok(found)
}

fn appraise(
    shelf: &dyn Shelf,
    appraiser: &Appraiser,
    name: Sha256,
) -> Result<Appraisal, ShelfError> {
    let Some(bytes) = shelf.object(Object::Evidence, &name)? else {
        let mut a = Appraisal::new(name);
        let text = format!("the evidence that it names ({name}) is not here");
        let remedy = "verify with the bundle that was exported with it, or where its state is";
        a.find(Check::Hardware, Tier::None, text, remedy);
        return Ok(a);
    };
    let evidence = match Evidence::decode(&bytes) {
        Ok(evidence) if evidence.id() == name => evidence,
        other => {
            let mut a = Appraisal::new(name);
            let text = match other {
                Ok(_) => format!("what is kept as evidence {name} is another one"),
                Err(e) => format!("evidence {name}: {e}"),
            };
            a.find(Check::KeyBinding, Tier::Contraindicated, text, "");
            return Ok(a);
        }
    };
    let collateral = match evidence.collateral {
        // What is damaged is as good as missing: the verifier may have its own.
        Some(c) => match shelf.object(Object::Collateral, &c) {
            Ok(bytes) => bytes,
            Err(ShelfError::Damaged(_)) => None,
            Err(e) => return Err(e),
        },
        None => None,
    };
    Ok(appraiser.appraise(&Presented {
        evidence: &evidence,
        earlier: &|id| earlier(shelf, id),
        collateral: collateral.as_deref(),
        nonce: None,
    }))
}

/// Evidence that another one's event log goes on from.
fn earlier(shelf: &dyn Shelf, id: &Sha256) -> Option<Evidence> {
    let bytes = shelf.object(Object::Evidence, id).ok()??;
    Evidence::decode(&bytes).ok()
}
