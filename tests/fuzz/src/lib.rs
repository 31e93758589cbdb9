//! What the fuzz targets share: honest examples to begin with, and ways to spoil them. The targets themselves are in `bin`.

pub mod edit;
pub mod forged;
pub mod seeds;
pub mod spoiled;

// The honest house of the measurements, and the attester and the forger of the verifier's own tests.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../manifests/tests/forgeries/forge.rs"]
mod forge;
#[path = "../../../benches/src/house.rs"]
pub mod house;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../manifests/tests/evidence/lab.rs"]
mod lab;
/// Under the name by which the forger knows it.
mod statements {
    pub(crate) use crate::house::plain;
}
