//! Where a manifest stands in its log, as a verdict shows it. Plain data.

use serde::{Deserialize, Serialize};

use super::head::Head;
use crate::digest::Sha256;
use crate::log::memory::Both;
use crate::log::proof::Proof;

/// What a proof says that was read and holds. `checks.transparency` says how far it may be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogFacts {
    /// Which log.
    pub origin: String,
    /// Its place there, counted from 0.
    pub index: u64,
    /// How many leaves the log had.
    pub size: u64,
    /// The root over them.
    pub root: Sha256,
    /// Names of the keys whose signatures hold: the log's own, and one that a quote binds.
    pub signers: Vec<String>,
    /// Witnesses that the policy names and whose cosignatures count.
    pub witnesses: Vec<Witness>,
    /// Why this head was not compared with what this verifier saw before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uncompared: Option<String>,
    /// Two heads of this log that exclude each other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conflict: Option<Conflict>,
}

/// Who cosigned, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// As the policy calls it.
    pub name: String,
    /// RFC 3339, UTC: the witness' clock.
    pub time: String,
}

/// Two heads that the log signed, whole, so that anybody can check that it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// `rollback`: the log was larger before. `split`: it shows two histories.
    pub what: String,
    /// The checkpoint that was seen before.
    pub remembered: String,
    /// The checkpoint that is shown now.
    pub shown: String,
}

impl Conflict {
    pub(super) fn of(what: &str, both: &Both) -> Self {
        let text = |c: &crate::log::checkpoint::Checkpoint| {
            String::from_utf8_lossy(&c.encode()).into_owned()
        };
        Self {
            what: what.to_owned(),
            remembered: text(&both.remembered),
            shown: text(&both.shown),
        }
    }
}

impl LogFacts {
    pub(super) fn of(proof: &Proof, head: &Head) -> Self {
        let shown = &proof.checkpoint.head;
        Self {
            origin: shown.origin.clone(),
            index: proof.index,
            size: shown.head.size,
            root: shown.head.root,
            signers: vec![shown.origin.clone()],
            witnesses: head.witnesses.clone(),
            uncompared: head.uncompared.clone(),
            conflict: head.conflict.clone(),
        }
    }
}

/// Seconds since 1970 in words.
pub(super) fn time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map_or_else(|| format!("{seconds} s since 1970"), |t| t.to_string())
}
