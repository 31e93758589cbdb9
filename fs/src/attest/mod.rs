//! The attester: TDX interfaces, event log, evidence, and when to make either. Believes nothing and appraises nothing: that is `atlas_manifests::evidence`.

pub mod batches;
mod checks;
pub mod collateral;
pub mod detect;
pub mod events;
pub mod evidence;
pub mod gpu;
mod ground;
pub mod head;
pub mod keeper;
mod logfile;
pub mod machine;
mod own;
pub mod quote;
pub mod secrecy;
mod steps;
pub mod tdx;
mod wal;

#[cfg(test)]
mod testing;
