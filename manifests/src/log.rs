//! The transparency log (FORMAT.md 8): what is said in it, how it grows, how anybody checks it. No network: that is the crate `atlas-net`.

pub mod anchor;
pub mod checkpoint;
pub mod cosignature;
pub mod leaf;
pub mod memory;
pub mod note;
pub mod proof;
pub mod quorum;
pub mod register;

#[cfg(test)]
pub(crate) mod testing;
