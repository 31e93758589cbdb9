//! What Atlas says about a file, how it is signed, and how it is checked. No FUSE, no daemon, no network of its own.

// The tests of `seal` share their statements with those under `tests/`, which know this crate by name.
#[cfg(test)]
extern crate self as atlas_manifests;

pub mod assertion;
pub mod authority;
pub mod bundle;
pub mod bytes;
mod cbor;
mod certificate;
pub mod digest;
mod durable;
pub mod evidence;
pub mod exclusion;
mod frame;
pub mod given;
pub mod graph;
pub mod history;
pub mod id;
pub mod index;
pub mod kind;
pub mod layout;
pub mod log;
pub mod merkle;
pub mod private;
pub mod read;
pub mod rows;
pub mod runs;
pub mod scan;
pub mod seal;
pub mod set;
pub mod shelf;
pub mod statement;
pub mod store;
pub mod trust;
pub mod vault;
pub mod verify;
pub mod vocabulary;
pub mod wire;

#[cfg(test)]
#[path = "../tests/statements/mod.rs"]
mod statements;
