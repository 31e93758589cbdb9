//! What Atlas says about a file, how it is signed, and how it is checked. No FUSE, no daemon, no network of its own.

pub mod bytes;
pub mod digest;
pub mod history;
pub mod id;
pub mod index;
pub mod layout;
pub mod rows;
pub mod shelf;
pub mod statement;
pub mod store;
pub mod trust;
pub mod vocabulary;
pub mod wire;
