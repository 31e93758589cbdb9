//! What a public log answers (Sigstore's `TransparencyLogEntry` as JSON), read from untrusted bytes. Not whether to believe it: `check`.

use serde::Deserialize;
use sha2::Digest as _;

use super::AnchorError;
use super::entry::AnchorRequest;
use super::record::{Expected, PublicAnchor};
use crate::bytes::unbase64;
use crate::digest::Sha256;
use crate::log::checkpoint::{Checkpoint, decimal};
use crate::log::note::VerifierKey;
use crate::log::proof::Proof;
use crate::merkle::MAX_PROOF;

/// No answer is longer, in bytes.
pub const MAX_ANSWER: usize = 128 << 10;
const WHAT: &str = "an entry of a public log";

/// What the log says; none of it is checked. What else stands there (times, promises: empty in this version) is neither read nor kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Place of the entry.
    pub index: u64,
    /// Which log, by the whole hash of which a key's id is the beginning.
    pub log: Sha256,
    /// The entry.
    pub body: Vec<u8>,
    /// Place of the entry, as the proof says.
    pub leaf: u64,
    /// How many leaves the tree of the proof has.
    pub size: u64,
    /// Its root.
    pub root: Sha256,
    /// From the leaf's sibling up.
    pub hashes: Vec<Sha256>,
    /// What they lead to.
    pub checkpoint: Checkpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    log_index: String,
    log_id: LogId,
    kind_version: KindVersion,
    inclusion_proof: Inclusion,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    log_index: String,
    root_hash: String,
    tree_size: String,
    hashes: Vec<String>,
    checkpoint: Envelope,
}

#[derive(Deserialize)]
struct Envelope {
    envelope: String,
}

impl Answer {
    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not an entry of the kind that is asked for, within the bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, AnchorError> {
        let wrong = |why: &str| AnchorError::malformed(WHAT, why);
        if bytes.len() > MAX_ANSWER {
            return Err(wrong("it is too long"));
        }
        // The words of the parser repeat what the server sent; the place is enough.
        let json: Json = serde_json::from_slice(bytes).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            let why = format!(
                "no such JSON, or a field is missing or of another type, at line {line} column {column}"
            );
            AnchorError::malformed(WHAT, why)
        })?;
        let number = |text: &str, why: &str| decimal(text).ok_or_else(|| wrong(why));
        let hash = |text: &str, why: &str| {
            let hash = unbase64(text).and_then(|h| h.try_into().ok());
            hash.map(Sha256).ok_or_else(|| wrong(why))
        };
        let KindVersion { kind, version } = &json.kind_version;
        if kind != "hashedrekord" || version != "0.0.2" {
            return Err(wrong("it is of another kind than hashedrekord 0.0.2"));
        }
        let proof = json.inclusion_proof;
        if proof.hashes.len() > MAX_PROOF {
            return Err(wrong("its proof has too many hashes"));
        }
        Ok(Self {
            index: number(&json.log_index, "its index is no number")?,
            log: hash(&json.log_id.key_id, "its log's id is no SHA-256 in base64")?,
            body: unbase64(&json.canonicalized_body)
                .ok_or_else(|| wrong("its body is no base64"))?,
            leaf: number(&proof.log_index, "its proof's index is no number")?,
            size: number(&proof.tree_size, "its proof's size is no number")?,
            root: hash(&proof.root_hash, "its proof's root is no SHA-256 in base64")?,
            hashes: proof
                .hashes
                .iter()
                .map(|h| hash(h, "a hash of its proof is no SHA-256 in base64"))
                .collect::<Result<_, _>>()?,
            checkpoint: Checkpoint::parse(proof.checkpoint.envelope.as_bytes())
                .map_err(|e| wrong(&format!("its checkpoint is {e}")))?,
        })
    }

    /// Checks everything that it says against what was sent, and makes the record of it.
    ///
    /// # Errors
    /// Which part is not to be believed.
    pub fn check(
        self,
        sent: &AnchorRequest,
        ours: &Checkpoint,
        expected: &Expected<'_>,
    ) -> Result<PublicAnchor, AnchorError> {
        if self.body != sent.body().as_bytes() {
            return Err(AnchorError::OtherEntry);
        }
        if self.log != log_id(expected.public) {
            return Err(AnchorError::OtherLog(expected.public.to_string()));
        }
        let head = self.checkpoint.head.head;
        let contradiction = if self.index != self.leaf {
            Some("two places of the entry")
        } else if self.size != head.size {
            Some("two sizes")
        } else if self.root != head.root {
            Some("two roots")
        } else {
            None
        };
        if let Some(what) = contradiction {
            return Err(AnchorError::Contradiction(what));
        }
        let made = PublicAnchor {
            checkpoint: ours.clone(),
            sent: sent.clone(),
            proof: Proof {
                extra: None,
                index: self.index,
                hashes: self.hashes,
                checkpoint: self.checkpoint,
            },
        };
        made.verify(expected)?;
        Ok(made)
    }
}

/// The whole hash whose first four bytes are a key's id.
fn log_id(key: &VerifierKey) -> Sha256 {
    let mut hash = sha2::Sha256::new_with_prefix(key.name().as_bytes());
    hash.update(b"\n\x01");
    hash.update(key.public());
    Sha256(hash.finalize().into())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
