//! The transparency log (FORMAT.md 8): what is said in it, how it grows, how anybody checks it. No network: that is the crate `atlas-net`.

pub mod register;
