//! What a mount's log is told. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// How the log is kept, and who is told of it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Its name, when it is not the usual one. Only when the log begins: a log keeps its name.
    pub origin: Option<String>,
    /// Where its newest checkpoint stands; `None`: in a file beside the authority's key.
    pub register: Option<String>,
    /// A policy (C2SP tlog-policy) that names witnesses with their URLs.
    pub witnesses: Option<PathBuf>,
    /// A public log.
    pub public: Option<Public>,
}

/// A Rekor v2 server.
#[derive(Debug, Clone)]
pub struct Public {
    /// Its URL.
    pub url: String,
    /// Its key, as C2SP writes keys.
    pub key: String,
    /// How often a checkpoint goes there, if there is a new one.
    pub every: Duration,
}
