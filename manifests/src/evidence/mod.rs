//! Hardware evidence of one life of the daemon: what is bound, what is quoted, what ran, and whether to believe it. Opens no TDX interface.
//!
//! A quote proves 64 bytes that somebody in a trust domain asked for. They are the digest of a `Binding`, which names the keys; the
//! event log explains RTMR3; reference values say what was booted. `Appraiser` puts these together (RATS: appraisal of evidence).

pub mod appraise;
pub mod binding;
pub mod ccel;
mod chain;
pub mod collateral;
mod dcap;
pub mod event;
mod log;
pub mod policy;
pub mod quote;
pub mod record;
pub mod reference;

pub use appraise::{Appraisal, Appraiser, Clock, Root};
pub use binding::{Beacon, Binding, BoundKey, KeyUse, LogHead, Purpose, ReportData};
pub use dcap::fmspc;
pub use event::{Entry, Event, EventBody, EventHead, EventLog, Rtmr};
pub use policy::Policy;
pub use record::Evidence;
pub use reference::{Measurements, References};
