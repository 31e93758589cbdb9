//! The control channel's messages (CONTRACTS 4): one JSON request and one or more JSON replies a line. Types only, no socket.

use serde::{Deserialize, Serialize};

use crate::bytes::PathBytes;
use crate::digest::{Digests, Sha256};
use crate::id::{InstanceId, NodeId, NodeRef, RunId};
use crate::rows::{RunRow, UseRow, VersionRow};
use crate::shelf::Object;

/// The channel's version: the `v` of every message.
pub const VERSION: u32 = 1;
/// No line on the channel is longer, in bytes; objects are fetched in one line each.
pub const MAX_LINE: usize = 256 << 20;

/// A request line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// `VERSION`.
    pub v: u32,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What can be asked. Paths are below SOURCE unless said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Ask {
    /// Declares the caller's process (named by SO_PEERCRED) and its future descendants as one run. Answer: `Run`.
    Declare {
        /// `--name`.
        name: Option<String>,
        /// `--meta`.
        meta: Vec<(String, String)>,
        /// What will be executed.
        argv: Vec<PathBytes>,
        /// The cgroup made for it (path below the cgroup2 root), when one could be made.
        cgroup: Option<String>,
    },
    /// Ends a declared run. Only the process that declared it may. Answer: `Done`.
    Finish {
        /// Which.
        run: RunId,
        /// 0 to 255, or 128 + signal.
        exit: i32,
    },
    /// Answer: `Status`.
    Status,
    /// Waits at most `wait_ms` until all versions that have ended by now are sealed. Answer: `Synced`.
    Sync {
        /// Milliseconds.
        wait_ms: u64,
    },
    /// Seals existing files; a directory becomes one set. Paths are below SOURCE. Answers: `Progress` lines, then `Registered`.
    Register {
        /// What to seal.
        paths: Vec<PathBytes>,
        /// The name given to it.
        name: Option<String>,
        /// The author given.
        author: Option<String>,
    },
    /// Ends the mount: new opens are refused, what is queued is sealed, the rest journaled. Only root and the daemon's own user may.
    /// Answer: `Error` naming who holds it (it stays mounted), or `Done` once it is detached.
    Unmount {
        /// Also while somebody holds it.
        force: bool,
        /// At most so many milliseconds for sealing; the mount's own `--drain` when `None`.
        drain_ms: Option<u64>,
    },
    /// An epoch of the caller's run begins: a label only. Answer: `Done`.
    Mark {
        /// The label.
        label: String,
    },
    /// Fresh evidence for a nonce. Only root and the daemon's own user may: a quote can take a second. Answer: `Bytes`.
    Attest {
        /// 1 to 64 bytes, in hex.
        nonce: String,
    },
    /// Says in the transparency log that something is not to be believed any more. Only root and the daemon's own user may. Answer: `Done`.
    Revoke {
        /// A manifest, by the SHA-256 of its bytes.
        manifest: Option<Sha256>,
        /// A life of the daemon, when no manifest is named.
        instance: Option<InstanceId>,
        /// One of `log::leaf::Reason`.
        reason: String,
    },
    /// `Shelf::object`. Answer: `Bytes`.
    Object {
        /// Which kind.
        kind: Object,
        /// Which one.
        name: Sha256,
    },
    /// `Shelf::manifests_of`. Answer: `Names`.
    ManifestsOf {
        /// The content.
        asset: Digests,
    },
    /// `Catalogue::by_path`. Answer: `Versions`.
    ByPath {
        /// Below SOURCE.
        path: PathBytes,
    },
    /// `Catalogue::by_digest`. Answer: `Versions`.
    ByDigest {
        /// As typed: `DigestPrefix`.
        digest: String,
    },
    /// `Catalogue::versions`. Answer: `MaybeVersions`.
    Versions {
        /// Which.
        nodes: Vec<NodeRef>,
    },
    /// `Catalogue::written_by`. Answer: `Versions`.
    WrittenBy {
        /// Which run.
        run: RunId,
    },
    /// `Catalogue::run`. Answer: `Runs` with none or one.
    Run {
        /// Which.
        id: RunId,
    },
    /// `Catalogue::runs`. Answer: `Runs`.
    Runs,
    /// `Catalogue::uses`. Answer: `Uses`.
    Uses {
        /// Which run.
        run: RunId,
        /// Only `order < below`.
        below: u64,
    },
    /// `Catalogue::users`. Answer: `Uses`.
    Users {
        /// Of which node.
        node: NodeRef,
    },
    /// `Catalogue::under`. Answer: `Versions`.
    Under {
        /// Below SOURCE; empty is all.
        dir: PathBytes,
    },
}

/// A reply line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// `VERSION`.
    pub v: u32,
    /// What is answered.
    #[serde(flatten)]
    pub say: Say,
}

/// What can be answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "kebab-case")]
pub enum Say {
    /// The request failed; nothing was changed.
    Error {
        /// One line, with the remedy.
        text: String,
        /// The exit code of CONTRACTS 5 that fits.
        code: i32,
    },
    /// Done, nothing to tell.
    Done,
    /// A run was declared.
    Run {
        /// Its name.
        run: RunId,
    },
    /// See `Status`.
    Status(Box<Status>),
    /// All sealed when `pending` is 0.
    Synced {
        /// How many versions are still on their way.
        pending: u64,
    },
    /// One step of a long request.
    Progress {
        /// Files done.
        files: u64,
        /// Files in all, as far as known.
        of_files: u64,
        /// Bytes done.
        bytes: u64,
    },
    /// A registration is sealed.
    Registered {
        /// One row per path asked: the file's version, or the set's.
        rows: Vec<VersionRow>,
    },
    /// An object.
    Bytes {
        /// Base64, or nothing when it is not here.
        b64: Option<String>,
    },
    /// Names of objects.
    Names {
        /// SHA-256 each.
        names: Vec<Sha256>,
    },
    /// Rows.
    Versions {
        /// The rows.
        rows: Vec<VersionRow>,
    },
    /// Rows, with gaps.
    MaybeVersions {
        /// In the order asked.
        rows: Vec<Option<VersionRow>>,
    },
    /// Rows.
    Runs {
        /// The rows.
        rows: Vec<RunRow>,
    },
    /// Rows.
    Uses {
        /// The rows.
        rows: Vec<UseRow>,
    },
}

/// What a daemon has of evidence. Each piece can be fetched with `Object`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvidenceStatus {
    /// The instance's first, which its certificate names.
    pub first: Sha256,
    /// The newest anchor, or the first.
    pub last: Sha256,
    /// How many anchors there are.
    pub anchors: u64,
    /// The configuration that is bound, as text: the binding has its SHA-256.
    pub config: String,
}

/// What a daemon has of its transparency log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogStatus {
    /// The log's name.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// Its root.
    pub root: Sha256,
    /// Manifests that are stored and wait for their place.
    pub waiting: u64,
    /// Who cosigned which size, newest first.
    #[serde(default)]
    pub witnesses: Vec<WitnessStatus>,
    /// The newest size that is in a public log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<u64>,
}

/// What one witness has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Its name in the policy.
    pub name: String,
    /// The largest head that it cosigned in this life of the daemon.
    pub size: Option<u64>,
}

/// What `MOUNT/.atlas/status` holds and `atlasctl status` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Program version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Backing directory.
    pub source: PathBytes,
    /// Mount point.
    pub mountpoint: PathBytes,
    /// State directory (`SOURCE/.atlas` unless told otherwise).
    pub state: PathBytes,
    /// This node's own directory below it, or elsewhere.
    pub node_state: PathBytes,
    /// Control socket.
    pub socket: PathBytes,
    /// Node id.
    pub node: NodeId,
    /// Instance id.
    pub instance: InstanceId,
    /// `passthrough` or `inline`.
    pub io: String,
    /// Why.
    pub io_reason: String,
    /// True when writes are refused.
    pub read_only: bool,
    /// What stands behind the key, as the daemon says it: `none`, `tdx`, `simulated`.
    pub hardware: String,
    /// Its evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceStatus>,
    /// Its transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStatus>,
    /// SHA-256 of the authority's certificate (DER).
    pub authority: Sha256,
    /// RFC 3339, UTC.
    pub mounted_at: String,
    /// Versions open or held right now.
    pub open: u64,
    /// Versions that ended and are not sealed yet.
    pub pending: u64,
    /// Versions sealed by this instance.
    pub sealed: u64,
    /// Changes seen that did not come through the mount.
    pub behind: u64,
    /// Things a person should know, one line each.
    pub warnings: Vec<String>,
}
