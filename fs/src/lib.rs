//! The provenance filesystem: sees what a job reads and writes, decides what it means, has it sealed.

pub mod assemble;
pub mod attest;
mod background;
pub mod caller;
pub mod command;
pub mod config;
pub mod control;
mod descriptors;
pub mod digest;
pub mod engine;
pub mod failure;
pub mod fuse;
pub mod ledger;
pub mod logbook;
pub mod mount;
pub mod options;
pub mod program;
pub mod vfs;
