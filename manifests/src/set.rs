//! A run's input set: an append-only Merkle tree (RFC 6962 hashing) of small leaves, stored in segments. Not the transparency log, and no proofs yet.

mod leaf;
mod members;
mod segment;
mod tree;

pub use leaf::Leaf;
pub use members::{Member, MemberList};
pub use segment::{Fetch, Segment, collect};
pub use tree::SetTree;

use crate::cbor::CborError;
use crate::digest::Sha256;
use crate::shelf::ShelfError;
use crate::statement::SetHead;

/// No set that is read has more leaves.
pub const MAX_LEAVES: u64 = 1 << 24;
/// No segment or member list that is read is longer, in bytes.
pub const MAX_SET_BYTES: usize = 1 << 30;

/// Why a set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Not the encoding of FORMAT.md.
    #[error("not a {what}: {source}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Where it went wrong.
        source: CborError,
    },
    /// Larger than is read.
    #[error("a set of {0} leaves is larger than the limit of {MAX_LEAVES}")]
    TooLarge(u64),
    /// A segment is not on the shelf.
    #[error("input set segment {0} is missing; copy it from the store that sealed the run")]
    Missing(Sha256),
    /// A segment does not fit the root that it was asked for by.
    #[error("input set segment {name} does not match its root: {why}")]
    Tampered {
        /// The root it was asked for by.
        name: Sha256,
        /// What is wrong.
        why: &'static str,
    },
    /// A member's path is absolute, leaves its directory, or stands twice.
    #[error("member list: {0}")]
    Members(String),
    /// The shelf failed.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// The head of the set without leaves: its root is the SHA-256 of nothing.
pub fn empty_head() -> SetHead {
    SetHead {
        size: 0,
        root: Sha256::of(b""),
    }
}
