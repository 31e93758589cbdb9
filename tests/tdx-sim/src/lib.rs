//! A simulated TDX guest for tests: false keys, quotes of them, and the kernel's interfaces. Not an attester, not a verifier, and
//! never linked into a program that ships.
//!
//! Nothing here is secret or measured. A [`pki::World`] is a public key infrastructure shaped like Intel's under a root of its own,
//! so that a verifier that trusts Intel's root refuses whatever comes out of it; every certificate says `SIMULATED` in its name.
//!
//! | module | holds |
//! |---|---|
//! | [`pki`] | the keys and certificates from the root to the attestation key |
//! | [`collateral`] | what Intel's service would say about the platform: TCB levels, QE identity, revocation lists |
//! | [`td`] | the guest itself: identity, attributes, registers |
//! | [`ccel`] | the firmware's event log that explains the registers at boot |
//! | [`quote`] | signed quotes, version 4 and 5 |
//! | [`machine`] | what the kernel's interfaces remember and answer, and the faults to order; no clock, no files |
//! | [`simulator`] | a machine that many ask at once, with the time that quotes take |
//! | [`tree`] | the names, modes and open files of those interfaces |
//! | [`mount`] | the tree as a FUSE mount |

pub mod ccel;
pub mod collateral;
pub mod hex;
pub mod machine;
pub mod mount;
pub mod pki;
pub mod quote;
pub mod simulator;
pub mod td;
pub mod tree;

pub use collateral::{CollateralSpec, TcbStatus, Tee};
pub use machine::{Command, Errno, Machine};
pub use mount::Mounted;
pub use pki::{Fmspc, World, WorldOptions};
pub use quote::Shape;
pub use simulator::Simulator;
pub use td::Td;
