//! What puts a head of our log into a public one (FORMAT.md 8.4), Rekor of Sigstore in its second version: what is sent, what comes back, what
//! is kept, and how anybody checks that without a network. Not how it is sent: `atlas_net::rekor`.
//!
//! Nothing that the public log answers is believed before it is checked, and its leaf is rebuilt from what we sent, never taken from it.

pub mod answer;
pub mod entry;
pub mod key;
pub mod record;
pub mod shelf;

pub use answer::Answer;
pub use entry::AnchorRequest;
pub use key::{AnchorKey, AnchorPublic, public_log_key};
pub use record::{Anchored, Expected, PublicAnchor};

/// Why something is no anchor, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// It cannot be read.
    #[error("not {what}: {why}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// What was anchored is not a head of the log that was expected.
    #[error("what was anchored is not signed by the log {0:?}")]
    NotOurs(String),
    /// Another key than the one that the evidence binds.
    #[error(
        "what was sent to the public log is signed by another key than the one that was expected"
    )]
    OtherKey,
    /// The signature that was sent.
    #[error(
        "the signature that was sent to the public log is not one of its key over that checkpoint"
    )]
    Signature,
    /// The public log has something else.
    #[error("the public log has another entry than the one that was sent")]
    OtherEntry,
    /// The public log's head does not say what the answer says.
    #[error("the public log's answer and the checkpoint in it contradict each other: {0}")]
    Contradiction(&'static str),
    /// The tree is smaller than the place in it.
    #[error(
        "the public log's checkpoint is of {size} leaves and does not reach leaf {index} yet: ask again"
    )]
    Lagging {
        /// Where the leaf is said to be.
        index: u64,
        /// How many leaves the checkpoint is of.
        size: u64,
    },
    /// The hashes lead elsewhere.
    #[error("the proof does not lead from the entry to the public log's checkpoint")]
    Proof,
    /// The checkpoint is not the public log's.
    #[error("the public log's checkpoint is not signed by the key {0} that is trusted for it")]
    OtherLog(String),
    /// A line says that a known key signed, and it did not.
    #[error("a signature on the public log's checkpoint is forged")]
    Forged,
    /// Too few witnesses.
    #[error("too few of the witnesses that are trusted cosigned the public log's checkpoint")]
    Quorum,
}

impl AnchorError {
    fn malformed(what: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Malformed { what, why }
    }
}

#[cfg(test)]
mod testing;
