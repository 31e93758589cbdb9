//! The model test's parts: random operations, the workers that execute them, and the true provenance. Not the comparison with what
//! the mount says: see `tests/model.rs`.

pub mod chance;
pub mod crew;
pub mod told;
pub mod trees;
pub mod truth;
