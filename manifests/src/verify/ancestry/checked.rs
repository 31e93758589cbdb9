//! One ancestor's manifest, checked by itself. Not against what was recorded of it: see `ancestry`.

use std::sync::Arc;

use super::super::{Terms, standing, transparency};
use super::Memo;
use crate::digest::Sha256;
use crate::read::{self, Signature};
use crate::shelf::{Object, Shelf, ShelfError};
use crate::statement::Statement;

/// One ancestor's manifest, checked by itself.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) statement: Statement,
    pub(super) size: u64,
    /// A simulator's evidence stands behind it.
    pub(super) simulated: bool,
}

/// Why an ancestor cannot be verified.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) io: bool,
    /// It is whole, and its evidence is not good.
    pub(super) evidence: bool,
}

impl Trouble {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            io: false,
            evidence: false,
        }
    }

    fn evidence(why: String) -> Self {
        Self {
            evidence: true,
            ..Self::new(why)
        }
    }
}

impl From<ShelfError> for Trouble {
    fn from(e: ShelfError) -> Self {
        Self {
            io: !matches!(e, ShelfError::Damaged(_)),
            why: e.to_string(),
            evidence: false,
        }
    }
}

/// Checks one ancestor's manifest by itself: that it is there, whole, signed by somebody trusted, and what stands behind the key.
pub(super) fn load(
    shelf: &dyn Shelf,
    terms: &Terms,
    name: &Sha256,
    memo: &mut Memo,
) -> Result<Arc<Checked>, Trouble> {
    let bytes = shelf
        .object(Object::Manifest, name)?
        .ok_or_else(|| Trouble::new(format!("its manifest {name} is missing")))?;
    // Not every shelf checks, and none is believed.
    if Sha256::of(&bytes) != *name {
        return Err(Trouble::new(format!(
            "what is kept as its manifest {name} is something else"
        )));
    }
    let reading = read::read(&bytes, &terms.anchors.pem)
        .map_err(|e| Trouble::new(format!("its manifest {name}: {e}")))?;
    if let Signature::Untrusted { reason } = &reading.signature {
        return Err(Trouble::new(format!(
            "its manifest {name} is not signed by anybody trusted: {reason}"
        )));
    }
    let standing = standing::of(shelf, &terms.appraiser, &reading, memo)?;
    if let Some(bad) = standing.refused() {
        let (check, text) = (bad.check.as_str(), &bad.text);
        return Err(Trouble::evidence(format!(
            "its evidence is refused: {check}: {text}"
        )));
    }
    if terms.appraiser.demands_lineage()
        && let [first, ..] = standing.lacking(&terms.appraiser)[..]
    {
        let check = first.as_str();
        return Err(Trouble::evidence(format!(
            "the policy demands evidence of every ancestor, and there is not enough for {check}"
        )));
    }
    let logged = transparency::of(shelf, terms, &reading, memo)?;
    if let Some(why) = logged.refused() {
        return Err(Trouble::evidence(format!("its place in the log: {why}")));
    }
    Ok(Arc::new(Checked {
        simulated: standing.simulated(),
        statement: reading.statement,
        size: bytes.len() as u64,
    }))
}
