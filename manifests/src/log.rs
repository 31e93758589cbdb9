//! The transparency log (FORMAT.md 8): what is said in it, how it grows, how anybody checks it. No network: that is the crate `atlas-net`.

pub mod append;
mod cache;
pub mod checkpoint;
pub mod cosignature;
mod edge;
pub mod find;
mod grow;
pub mod leaf;
mod lookup;
pub mod note;
pub mod proof;
pub mod reader;
pub mod recovery;
pub mod register;
pub mod tile;
mod wal;

#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod stop;
#[cfg(test)]
pub(crate) mod testing;
