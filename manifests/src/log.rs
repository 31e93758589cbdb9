//! The transparency log (FORMAT.md 8): what is said in it, how it grows, how anybody checks it. No network: that is the crate `atlas-net`.

pub mod anchor;
pub mod append;
pub mod audit;
mod cache;
pub mod checkpoint;
pub mod cosignature;
mod edge;
pub mod find;
mod grow;
pub mod leaf;
mod lookup;
pub mod memory;
pub mod note;
pub mod operator;
pub mod proof;
pub mod quorum;
pub mod reader;
pub mod recovery;
pub mod register;
pub mod state;
pub mod tile;
mod wal;

#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod stop;
#[cfg(test)]
pub(crate) mod testing;
