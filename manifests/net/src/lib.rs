//! What of Atlas crosses a network: registers of other machines, witnesses, public logs, logs that others serve. Verification needs none of it.

pub mod cosigner;
pub mod http;
pub mod rekor;
pub mod remote;
mod request;
pub mod server;
pub mod serving;
pub mod witness;
pub mod witness_server;
