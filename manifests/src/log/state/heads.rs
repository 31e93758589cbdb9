//! Under which of its heads a log proves a leaf: the newest is often not the one that says most. Judges none of them.

use std::path::Path;

use crate::digest::Sha256;
use crate::given;
use crate::log::checkpoint::Checkpoint;
use crate::log::note::MAX_NOTE;
use crate::log::reader::{Directory, LogReader};

/// The newest head that witnesses signed, in a log's directory; `checkpoint` may be newer.
pub const COSIGNED: &str = "cosigned";
/// The last head of each life of the daemon that had evidence, in a log's directory.
const HEADS: &str = "heads";

/// Where in a log's directory the last head lies that the key of this evidence signed.
pub fn head_file(evidence: &Sha256) -> String {
    format!("{HEADS}/{}", evidence.hex())
}

/// Whether this is such a file.
pub(super) fn is_head(path: &str) -> bool {
    let name = path.strip_prefix(HEADS).and_then(|p| p.strip_prefix('/'));
    name.is_some_and(|hex| Sha256::from_hex(hex).is_ok())
}

/// The name of a key that evidence binds.
pub fn bound_name(origin: &str, evidence: &Sha256) -> String {
    format!("{origin}/{}", evidence.hex())
}

/// Heads beside the newest.
pub(super) struct Heads {
    dir: Directory,
}

impl Heads {
    pub(super) fn below(dir: &Directory) -> Self {
        Self { dir: dir.clone() }
    }

    /// The head for a leaf: signed by the key that this evidence binds, if one is, so that no later life has to be believed; of those the one with
    /// the most signatures; the newest of equal ones.
    pub(super) fn of(
        &self,
        log: &LogReader<Directory>,
        at: u64,
        evidence: Option<&Sha256>,
    ) -> Checkpoint {
        let newest = log.checkpoint();
        let bound = evidence.map(|e| bound_name(&newest.head.origin, e));
        let own = evidence.map(head_file);
        let others = own.into_iter().chain([COSIGNED.to_owned()]);
        let others = others.filter_map(|name| self.read(log, &self.dir.file(&name)));
        let is_bound = |c: &Checkpoint| {
            let lines = &c.note.signatures;
            bound.is_some() && lines.iter().any(|l| Some(&l.name) == bound.as_ref())
        };
        others
            .filter(|c| at < c.head.head.size)
            .chain([newest.clone()])
            .max_by_key(|c| (is_bound(c), c.note.signatures.len(), c.head.head.size))
            .unwrap_or_else(|| newest.clone())
    }

    /// One that this log goes on from.
    fn read(&self, log: &LogReader<Directory>, path: &Path) -> Option<Checkpoint> {
        let bytes = given::read(path, MAX_NOTE as u64).ok()?;
        let found = Checkpoint::parse(&bytes).ok()?;
        let head = &found.head.head;
        let ours = found.head.origin == log.checkpoint().head.origin
            && log.root(head.size).is_ok_and(|root| root == head.root);
        ours.then_some(found)
    }
}
