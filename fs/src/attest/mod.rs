//! What proves where the daemon runs: the interfaces of an Intel TDX guest. Not what is proven with them, nor how a proof is checked.

pub mod detect;
pub mod quote;
pub(crate) mod secrecy;
pub mod tdx;
