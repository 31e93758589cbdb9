//! The harness of the end-to-end tests: real mounts, real jobs, real tampering. Not the tests themselves: see `tests/`.
//!
//! Each test thread has a mount namespace of its own (`sandbox`), so that nothing is mounted or pinned on the machine for longer
//! than the test; each job is started as an orphan (`job`), so that it is a process tree of its own, as after a login.

pub mod ctl;
pub mod files;
pub mod job;
pub mod lineage;
pub mod model;
pub mod mount;
pub mod sandbox;
pub mod store;
pub mod tdx;
pub mod wait;
pub mod worker;

pub use ctl::Answer;
pub use job::{Done, Job, User};
pub use lineage::Lineage;
pub use mount::{Io, Lab, Mount, Options};
pub use store::Store;
pub use tdx::TrustDomain;

/// Runs a test body in both I/O modes: `both! { fn name(io: Io) { ... } }` makes `name::passthrough` and `name::inline`.
#[macro_export]
macro_rules! both {
    ($($(#[doc = $doc:literal])* fn $name:ident($io:ident) $body:block)*) => {
        $($(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing of its file")]
            use super::*;

            fn body($io: $crate::Io) $body

            #[test]
            fn passthrough() {
                body($crate::Io::Passthrough);
            }

            #[test]
            fn inline() {
                body($crate::Io::Inline);
            }
        })*
    };
}
