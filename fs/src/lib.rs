//! The provenance filesystem: sees what a job reads and writes, decides what it means, has it sealed.

pub mod caller;
pub mod fuse;
pub mod vfs;
