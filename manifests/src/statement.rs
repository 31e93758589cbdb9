//! Everything that a manifest says about one version, as plain data. Not how it is encoded (`assertion`) nor signed (`seal`).

use serde::{Deserialize, Serialize};

use crate::digest::{Blake3, Digests, Sha256};
use crate::id::{InstanceId, NodeRef, RunId, VersionId};
use crate::vocabulary::{Closed, Confined, Cut, Grade, Hardware, Kind, Quiet, RunHow, State};

/// At most so many inputs stand in a manifest itself; all of them stand in the input set.
pub const MAX_DIRECT_INPUTS: usize = 8;
/// No manifest is larger, whatever it holds, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 8 * 1024;

/// What one manifest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// The version that was sealed.
    pub version: VersionId,
    /// The file's base name; `None` when titles are withheld.
    pub title: Option<String>,
    /// What the bytes are.
    pub asset: Asset,
    /// RFC 3339, UTC: the daemon's clock, which the host can influence.
    pub sealed_at: String,
    /// How the writer let go.
    pub closed: Closed,
    /// Exit status (`Closed::Exit`) or signal (`Closed::Killed`) of the writer.
    pub status: Option<i32>,
    /// Whether nobody could write while it was digested.
    pub quiet: Quiet,
    /// Where the line between earlier and later inputs was drawn.
    pub cut: Cut,
    /// The version that this one replaces, when its content could be seen.
    pub parent: Option<Input>,
    /// The most direct inputs, nearest first. With `parent`, at most `MAX_DIRECT_INPUTS`, and as many as fit.
    pub inputs: Vec<Input>,
    /// The run's uses before the cut: always there, also when empty.
    pub input_set: SetHead,
    /// For a registered data set: its members. The asset is then the canonical member list.
    pub members: Option<SetHead>,
    /// What caused it.
    pub origin: Origin,
    /// Digests of what is not said here; values and salts stand in the private record.
    pub withheld: Vec<Withheld>,
    /// Digest of the effective configuration.
    pub config: Sha256,
    /// The life of the daemon that signed.
    pub instance: InstanceId,
    /// What stands behind the key, as the daemon says it. Only the evidence proves it.
    pub hardware: Hardware,
    /// The quote that was made for this statement alone, by the SHA-256 of its binding.
    pub evidence: Option<Sha256>,
}

/// The bytes of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// What they are, exactly.
    pub digests: Digests,
    /// `dc:format`, for example `application/vnd.apache.parquet`.
    pub media_type: String,
    /// C2PA asset types, for example `c2pa.types.model.pytorch`.
    pub types: Vec<String>,
}

/// The head of an append-only Merkle tree (RFC 6962 hashing, SHA-256).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetHead {
    /// Number of leaves.
    pub size: u64,
    /// Root hash; that of the empty tree when `size` is 0.
    pub root: Sha256,
}

/// One input as a manifest names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Which node of the lineage graph.
    pub node: NodeRef,
    /// Its base name; `None` when titles are withheld.
    pub title: Option<String>,
    /// Its content; `None` while somebody still wrote it.
    pub digests: Option<Digests>,
    /// SHA-256 and length of its own manifest, when it has one.
    pub manifest: Option<ManifestRef>,
    /// `dc:format`.
    pub media_type: String,
    /// Why it is an input.
    pub kind: Kind,
    /// How near reader and writer were.
    pub grade: Grade,
    /// What it was when this statement was made.
    pub state: State,
}

/// Names one manifest by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ManifestRef {
    /// SHA-256 of the manifest's bytes.
    pub sha256: Sha256,
    /// Their number.
    pub size: u64,
}

/// What made a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// A job, by writing it through the mount.
    Run(RunStatement),
    /// `atlasctl register`: the content was there already; who made it is not known.
    Registered {
        /// The name that was given to it.
        name: Option<String>,
        /// The author that was given.
        author: Option<String>,
    },
}

/// The job behind a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatement {
    /// Which run.
    pub id: RunId,
    /// `atlasctl run --name`.
    pub name: Option<String>,
    /// `atlasctl run --meta k=v`.
    pub meta: Vec<(String, String)>,
    /// How its processes came to be one run.
    pub how: RunHow,
    /// RFC 3339, UTC.
    pub started: String,
    /// The number, within the run, of the process that wrote this version last.
    pub process: u32,
    /// The number, within the run, of that process' tree.
    pub tree: u32,
    /// Base name of the program seen last in that process.
    pub program: String,
    /// Digests of its executable, when it could be read.
    pub program_digest: Option<Blake3>,
    /// Whether the job could have reached the backing files beside the daemon.
    pub confined: Confined,
    /// The program's own source state, when it is a script in a work tree.
    pub git: Option<Git>,
    /// Installed Python distributions, by one digest over the sorted `name==version` lines.
    pub python: Option<Python>,
}

/// A git work tree's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// HEAD, 40 or 64 hex digits.
    pub commit: String,
    /// Whether a tracked file differs from HEAD; `None` when it could not be told.
    pub dirty: Option<bool>,
}

/// Installed Python distributions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// Number of distributions.
    pub count: u32,
    /// SHA-256 over the sorted `name==version\n` lines; the lines stand in the private record.
    pub sha256: Sha256,
}

/// A field that is committed to but not disclosed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// `path`, `title`, `argv`, `cwd`, `host`, `user`, `exe`, `script`, `env`, `python`, `run`.
    pub field: String,
    /// See `private::commitment`.
    pub sha256: Sha256,
}

/// A statement together with the private record that opens its withheld fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The signed bytes: a C2PA manifest store.
    pub manifest: Vec<u8>,
    /// SHA-256 and length of `manifest`.
    pub reference: ManifestRef,
    /// The manifest's own C2PA URN.
    pub urn: String,
}
