//! The attester: event log, evidence, and when to make either. Believes nothing and appraises nothing: that is `atlas_manifests::evidence`.

pub mod batches;
mod checks;
pub mod collateral;
pub mod events;
pub mod evidence;
pub mod gpu;
mod logfile;
pub mod machine;
mod own;
mod steps;
mod wal;

#[cfg(test)]
mod testing;
