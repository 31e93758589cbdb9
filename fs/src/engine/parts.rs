//! What an engine is started with, and what it tells its scribe. Plain data.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use atlas_manifests::authority::Authority;
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::{InstanceId, NodeId, RunId, VersionId};
use atlas_manifests::layout::Layout;
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};

use super::register::Registration;
use crate::attest::keeper::Settings;
use crate::caller::RunsMode;
use crate::config::Config;
use crate::ledger::Plan;
use crate::logbook;

/// What an engine is started with.
pub struct StartOptions {
    /// State directories.
    pub layout: Layout,
    /// Whose journal and index.
    pub node: NodeId,
    /// Who signs the instance's certificate.
    pub authority: Authority,
    /// This life.
    pub instance: InstanceId,
    /// Backing directory, as a person would name it.
    pub source: PathBuf,
    /// Mount point.
    pub mountpoint: PathBuf,
    /// State directory, as a person would name it.
    pub state: PathBuf,
    /// The directory of all nodes, as a person would name it.
    pub node_state: PathBuf,
    /// The mount covers SOURCE, so that no other path leads to it.
    pub in_place: bool,
    /// Control socket.
    pub socket: PathBuf,
    /// `passthrough` or `inline`.
    pub io: String,
    /// Why.
    pub io_reason: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Digest workers.
    pub digest_threads: usize,
    /// How processes become runs.
    pub runs: RunsMode,
    /// What is left out.
    pub config: Config,
    /// `--titles none`.
    pub titles_withheld: bool,
    /// Write `PATH.c2pa` beside the data as well: SOURCE, opened before it was covered.
    pub sidecars: Option<OwnedFd>,
    /// What hardware evidence is made with.
    pub evidence: Settings,
    /// Where the authority's key lies, and the log's beside it.
    pub authority_dir: PathBuf,
    /// How the transparency log is kept.
    pub log: logbook::Settings,
    /// Things to tell in `status`.
    pub warnings: Vec<String>,
}

/// Why an engine did not start. One line each, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// What the scribe is told, in order.
pub(crate) enum Work {
    /// Remember a row.
    Version(Box<VersionRow>),
    /// Remember a use.
    Use(UseRow),
    /// Remember a run as it is now.
    Run(RunId),
    /// A run of an earlier life, as its journal had it.
    Restored(Box<RunRow>),
    /// A run is over: nothing of it will be sealed any more.
    Over(RunId),
    /// A name moved.
    Renamed(PathBytes, PathBytes),
    /// Two names changed places.
    Exchanged(PathBytes, PathBytes),
    /// The last name of a file is gone.
    Gone(PathBytes),
    /// Sign and store.
    Seal(Box<Plan>),
    /// These have a place in the log now.
    Logged(Vec<VersionId>),
    /// Sign and store what a person registered.
    Register(Arc<Registration>),
    /// Answer when everything before this is on disk.
    Sync(Sender<()>),
    /// End.
    Stop,
}
