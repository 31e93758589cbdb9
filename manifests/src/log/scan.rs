//! Which leaf says that a manifest was sealed. Found by reading leaves, newest first: whoever keeps a cache of where they are looks there before.

use super::leaf::Leaf;
use super::reader::{LogError, LogReader, Source};
use super::tile::WIDTH;
use crate::digest::Sha256;

/// A leaf and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place.
    pub index: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it says.
    pub leaf: Leaf,
}

/// The newest leaf that says that this manifest was sealed; `None`: there is none.
///
/// # Errors
/// When a bundle cannot be read or believed.
pub fn manifest<S: Source>(log: &LogReader<S>, digest: &Sha256) -> Result<Option<Found>, LogError> {
    for number in (0..log.head().size.div_ceil(WIDTH)).rev() {
        let bundle = log.leaves(number)?;
        for at in (0..bundle.len()).rev() {
            let bytes = bundle.get(at).unwrap_or_default();
            match Leaf::decode(bytes) {
                Ok(leaf @ Leaf::Manifest { manifest, .. }) if manifest == *digest => {
                    return Ok(Some(Found {
                        index: number * WIDTH + at as u64,
                        bytes: bytes.to_vec(),
                        leaf,
                    }));
                }
                // What is no leaf of ours is found by an audit.
                _ => {}
            }
        }
    }
    Ok(None)
}
