//! What the index remembers of versions, uses and runs: plain data. A cache over the store, never evidence.

use serde::{Deserialize, Serialize};

use crate::bytes::PathBytes;
use crate::digest::Digests;
use crate::id::{NodeRef, RunId};
use crate::statement::{Git, ManifestRef, Python, SetHead};
use crate::vocabulary::{Closed, Confined, Cut, Grade, Kind, Quiet, RunHow, State};

/// What identifies the content of a backing file, while nobody writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number; 0 is SOURCE's own, whatever number it has today.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Birth time in ns since 1970: tells a reused inode number from the old one. 0 where the store has none that stays.
    #[serde(with = "nanoseconds")]
    pub born: i128,
    /// Bytes.
    pub size: u64,
    /// Modification time, ns since 1970.
    #[serde(with = "nanoseconds")]
    pub mtime: i128,
    /// Change time, ns since 1970.
    #[serde(with = "nanoseconds")]
    pub ctime: i128,
}

impl FileIdentity {
    /// Equal but for the change time, which rename(2), link(2) and chmod(2) move too: enough where it is known otherwise that nobody wrote.
    pub fn same_bytes(&self, other: &Self) -> bool {
        let ctime = self.ctime;
        *self == Self { ctime, ..*other }
    }
}

/// Times as 64-bit integers (to the year 2262, later ones as the last): serde reads no 128-bit ones inside tagged messages (`wire`).
mod nanoseconds {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(t: &i128, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64((*t).clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i128, D::Error> {
        i64::deserialize(d).map(i128::from)
    }
}

/// One version: sealed, on its way, or only known as an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Its name.
    pub node: NodeRef,
    /// Last known path below SOURCE; `None` when the asker may not know it.
    pub path: Option<PathBytes>,
    /// The base name by which a manifest calls it; known where the row was made from manifests alone.
    #[serde(default)]
    pub title: Option<String>,
    /// True when the file was unlinked, or replaced at that path, since.
    pub gone: bool,
    /// Its content, once digested.
    pub digests: Option<Digests>,
    /// What has become of it.
    pub state: State,
    /// Why it is in that state, when a person would ask (one line).
    pub reason: Option<String>,
    /// How its writer let go; `None` for inputs that nobody was seen to write.
    pub closed: Option<Closed>,
    /// Exit status or signal that goes with `closed`.
    pub status: Option<i32>,
    /// Whether nobody could write while it was digested.
    pub quiet: Option<Quiet>,
    /// Where the line between earlier and later inputs was drawn.
    pub cut: Option<Cut>,
    /// The run that wrote it.
    pub run: Option<RunId>,
    /// Number of the writing process within the run.
    pub process: u32,
    /// Number of its tree within the run.
    pub tree: u32,
    /// How many of the run's uses are inputs of this version: those with `order < inputs`.
    pub inputs: u64,
    /// The version that it replaced.
    pub parent: Option<NodeRef>,
    /// Versions whose bytes the kernel copied into it.
    pub copied: Vec<NodeRef>,
    /// Created and deleted by its run, read by nobody else: views show its inputs instead.
    pub ephemeral: bool,
    /// Its manifest.
    pub manifest: Option<ManifestRef>,
    /// Head of the input set that the manifest commits to.
    pub input_set: Option<SetHead>,
    /// For a registered set: head of its member list.
    pub members: Option<SetHead>,
    /// `dc:format`, as sealed.
    pub media_type: Option<String>,
    /// RFC 3339, UTC.
    pub ended_at: Option<String>,
    /// RFC 3339, UTC.
    pub sealed_at: Option<String>,
    /// What identifies its bytes on disk.
    pub identity: Option<FileIdentity>,
}

/// One use: a run opened a version for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UseRow {
    /// The run.
    pub run: RunId,
    /// Position in the run's input set, from 0.
    pub order: u64,
    /// What was used.
    pub node: NodeRef,
    /// Seen read, or only opened, ...
    pub kind: Kind,
    /// Number of the reading process within the run.
    pub process: u32,
    /// Number of its tree within the run.
    pub tree: u32,
    /// Path when it was opened; `None` when the asker may not know it.
    pub path: Option<PathBytes>,
}

impl UseRow {
    /// How near this use was to a writer in the same run. `Copied` cannot be told from here: see `VersionRow::copied`.
    pub fn grade(&self, process: u32, tree: u32) -> Grade {
        if self.process == process {
            Grade::SameProcess
        } else if self.tree == tree {
            Grade::ProcessTree
        } else {
            Grade::Run
        }
    }
}

/// One process of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Number within the run, from 0.
    pub number: u32,
    /// Number of its tree within the run, from 0.
    pub tree: u32,
    /// Process id, in the daemon's pid namespace.
    pub pid: i32,
    /// Executable seen last.
    pub exe: Option<PathBytes>,
    /// Arguments seen last, with what looks like a secret replaced.
    pub argv: Vec<PathBytes>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its name.
    pub id: RunId,
    /// `atlasctl run --name`.
    pub name: Option<String>,
    /// `atlasctl run --meta`.
    pub meta: Vec<(String, String)>,
    /// How its processes came to be one run.
    pub how: RunHow,
    /// Who started it.
    pub uid: u32,
    /// Host name.
    pub host: Option<String>,
    /// Working directory of its first process.
    pub cwd: Option<PathBytes>,
    /// Executable of its first process.
    pub exe: Option<PathBytes>,
    /// Arguments of its first process, with what looks like a secret replaced.
    pub argv: Vec<PathBytes>,
    /// The script that its interpreter ran.
    pub script: Option<PathBytes>,
    /// Source state of that script.
    pub git: Option<Git>,
    /// Installed Python distributions.
    pub python: Option<Python>,
    /// Whether the job could have reached the backing files beside the daemon.
    pub confined: Confined,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC; `None` while it lives.
    pub ended: Option<String>,
    /// Exit status: 0 to 255, or 128 + signal; `None` when it is not known.
    pub exit: Option<i32>,
    /// Number of uses so far.
    pub uses: u64,
    /// Its processes that touched the mount. In a private record, and in what the index is told: those that no earlier one tells of.
    pub processes: Vec<ProcessRow>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Blake3;
    use crate::wire::{Reply, Say, VERSION};

    /// Internally tagged messages are buffered by serde, which refuses 128-bit integers there.
    #[test]
    fn a_row_with_times_survives_the_control_channel() {
        let row = VersionRow {
            node: NodeRef::Content(Blake3([1; 32])),
            path: None,
            title: None,
            gone: false,
            digests: None,
            state: State::Sealed,
            reason: None,
            closed: None,
            status: None,
            quiet: None,
            cut: None,
            run: None,
            process: 0,
            tree: 0,
            inputs: 0,
            parent: None,
            copied: Vec::new(),
            ephemeral: false,
            manifest: None,
            input_set: None,
            members: None,
            media_type: None,
            ended_at: None,
            sealed_at: None,
            identity: Some(FileIdentity {
                dev: 1,
                ino: u64::MAX,
                born: -1,
                size: 3,
                mtime: 1_795_000_000_123_456_789,
                ctime: i128::from(i64::MAX),
            }),
        };
        let reply = Reply {
            v: VERSION,
            say: Say::Versions {
                rows: vec![row.clone()],
            },
        };
        let line = serde_json::to_string(&reply).unwrap();
        let back: Reply = serde_json::from_str(&line).unwrap();
        assert!(matches!(back.say, Say::Versions { rows } if rows == [row]));
    }
}
