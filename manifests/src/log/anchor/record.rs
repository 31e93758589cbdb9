//! What is kept of an anchor, and how it is checked by whoever has it: a C2SP tlog-proof of the public log's leaf, whose `extra` holds what the
//! leaf is rebuilt from. No network, no clock.

use super::AnchorError;
use super::entry::AnchorRequest;
use super::key::{AnchorPublic, MAX_SIGNATURE};
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;
use crate::evidence::LogHead;
use crate::log::checkpoint::Checkpoint;
use crate::log::note::{Signed, VerifierKey};
use crate::log::proof::Proof;
use crate::log::quorum::Quorum;

/// First word of what stands in `extra`.
const FORMAT: &str = "atlas-anchor-1";
/// No checkpoint of ours in an anchor is longer, in bytes: all fits a proof's file.
pub const MAX_OWN: usize = 32 << 10;
const WHAT: &str = "an anchor in a public log";

/// A head of ours in a public log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicAnchor {
    /// Our checkpoint, with the signatures that it had then.
    pub checkpoint: Checkpoint,
    /// What was sent: the public log's leaf follows from it.
    pub sent: AnchorRequest,
    /// That the leaf is in the public log, up to a checkpoint of that log. Its `extra` is none.
    pub proof: Proof,
}

/// Whom a verifier believes.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The public log.
    pub public: &'a VerifierKey,
    /// Our log.
    pub log: &'a VerifierKey,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that must have signed what was sent; `None`: any may have. Evidence names it
    /// (`Binding::key(KeyUse::Anchor)`).
    pub key: Option<Sha256>,
    /// Whose cosignatures the public log's checkpoint must bear.
    pub quorum: Option<&'a Quorum>,
}

/// What an anchor proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// This head of our log ...
    pub ours: LogHead,
    /// ... is there to be seen at this place ...
    pub index: u64,
    /// ... of that log, at the latest when it had this head.
    pub public: LogHead,
}

impl PublicAnchor {
    /// The text of a `.tlog-proof` file.
    ///
    /// # Errors
    /// When our checkpoint has more signatures than are kept.
    pub fn encode(&self) -> Result<Vec<u8>, AnchorError> {
        let checkpoint = self.checkpoint.encode();
        if checkpoint.len() > MAX_OWN {
            return Err(AnchorError::malformed(WHAT, "our checkpoint is too long"));
        }
        let mut w = Writer::default();
        w.array(4);
        w.text(FORMAT);
        w.bytes(&checkpoint);
        w.bytes(&self.sent.signature);
        w.bytes(&self.sent.key.spki());
        let mut proof = self.proof.clone();
        proof.extra = Some(w.0);
        Ok(proof.encode())
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one anchor in its one spelling.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnchorError> {
        let wrong = |why: String| AnchorError::malformed(WHAT, why);
        let mut proof = Proof::parse(bytes).map_err(|e| wrong(e.to_string()))?;
        let extra = proof.extra.take();
        let extra = extra.ok_or_else(|| wrong("it does not say what was anchored".to_owned()))?;
        let (checkpoint, signature, spki) =
            parts(&extra).map_err(|e| wrong(format!("what was anchored: {e}")))?;
        if checkpoint.len() > MAX_OWN || signature.len() > MAX_SIGNATURE {
            return Err(wrong(
                "our checkpoint or its signature is too long".to_owned(),
            ));
        }
        let checkpoint =
            Checkpoint::parse(checkpoint).map_err(|e| wrong(format!("our checkpoint is {e}")))?;
        let key = AnchorPublic::from_spki(spki);
        Ok(Self {
            sent: AnchorRequest {
                digest: Sha256::of(checkpoint.note.text.as_bytes()),
                signature: signature.to_vec(),
                key: key.ok_or_else(|| wrong("the key is none of P-256".to_owned()))?,
            },
            checkpoint,
            proof,
        })
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn verify(&self, expected: &Expected<'_>) -> Result<Anchored, AnchorError> {
        if self.checkpoint.signed_by_log(expected.log) != Signed::Yes {
            return Err(AnchorError::NotOurs(expected.log.name().to_owned()));
        }
        if expected.key.is_some_and(|k| k != self.sent.key.digest()) {
            return Err(AnchorError::OtherKey);
        }
        if !self.sent.signs(&self.checkpoint) {
            return Err(AnchorError::Signature);
        }
        let public = &self.proof.checkpoint;
        match public.signed_by_log(expected.public) {
            Signed::Yes => {}
            Signed::No => return Err(AnchorError::OtherLog(expected.public.to_string())),
            Signed::Forged => return Err(AnchorError::Forged),
        }
        let (index, size) = (self.proof.index, public.head.head.size);
        if index >= size {
            return Err(AnchorError::Lagging { index, size });
        }
        if !self.proof.holds(&self.sent.leaf()) {
            return Err(AnchorError::Proof);
        }
        if let Some(quorum) = expected.quorum {
            let judged = quorum.judge(public, None, 0);
            if judged.forged() {
                return Err(AnchorError::Forged);
            }
            if !judged.met {
                return Err(AnchorError::Quorum);
            }
        }
        Ok(Anchored {
            ours: self.checkpoint.head.clone(),
            index,
            public: public.head.clone(),
        })
    }
}

/// Our checkpoint, the signature, the key.
type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn parts(extra: &[u8]) -> Result<Parts<'_>, CborError> {
    let mut r = Reader::new(extra);
    r.array_of(4)?;
    if r.text()? != FORMAT {
        return Err(r.error("it begins with another word"));
    }
    let found = (r.bytes()?, r.bytes()?, r.bytes()?);
    r.end()?;
    Ok(found)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
