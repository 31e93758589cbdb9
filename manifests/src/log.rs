//! The transparency log (FORMAT.md 8): what is said in it, how it grows, how anybody checks it. No network: that is the crate `atlas-net`.

pub mod audit;
mod cache;
pub mod checkpoint;
pub mod cosignature;
mod edge;
pub mod leaf;
pub mod memory;
pub mod note;
pub mod proof;
pub mod quorum;
pub mod reader;
pub mod register;
pub mod scan;
pub mod tile;

#[cfg(test)]
pub(crate) mod testing;
