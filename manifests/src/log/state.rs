//! The logs of a state directory as a shelf shows them: each node's, read from its files without any daemon. Judges nothing.
//!
//! A log is read through once, for the places of its manifests and for what takes something back; what is added later is read when it is asked for.

mod heads;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use heads::{COSIGNED, bound_name, head_file};

use super::tile::Resource;

use heads::Heads;

use super::find::Finder;
use super::leaf::{Leaf, Revoked};
use super::operator::MAX_CERTIFICATE;
use super::proof::Proof;
use super::reader::{Directory, LogError, LogReader};
use super::tile::WIDTH;
use crate::digest::Sha256;
use crate::given::{self, GivenError};
use crate::id::{InstanceId, NodeId};
use crate::layout::Layout;
use crate::shelf::{Entry, Logged, ShelfError};

/// The certificate of the log's key, in a log's directory.
pub const CERTIFICATE: &str = "certificate.pem";
/// Keys that signed checkpoints, one a line, in a log's directory.
pub const KEYS: &str = "keys";
/// No list of keys is longer, in bytes: one of some 150 bytes for each life of a daemon.
pub const MAX_KEYS: u64 = 4 << 20;

/// The file of a log that anybody may read, by its name in a mount's `.atlas/log`, where `:` stands for `/`; `None`: there is none.
pub fn published(name: &str) -> Option<String> {
    let path = name.replace(':', "/");
    let other = || [CERTIFICATE, KEYS, COSIGNED].contains(&path.as_str()) || heads::is_head(&path);
    (!name.contains('/') && (Resource::parse(&path).is_ok() || other())).then_some(path)
}

/// The logs of one state directory.
pub struct Logs {
    layout: Layout,
    /// The log of a mounted node, as its mount shows it.
    mounted: Option<(NodeId, PathBuf)>,
    open: Mutex<HashMap<NodeId, Log>>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logs({:?})", self.layout.node_state)
    }
}

/// One log, and what was found in it.
struct Log {
    reader: LogReader<Directory>,
    heads: Heads,
    /// Of each instance its first evidence, as the log has it.
    evidence: HashMap<InstanceId, Sha256>,
    certificate: Arc<[u8]>,
    keys: Arc<[u8]>,
    /// The first bytes of each manifest's digest, and where its leaf is; sorted.
    manifests: Vec<(u64, u64)>,
    /// Beginnings, last anchors and revocations, by instance.
    instances: HashMap<InstanceId, Vec<u64>>,
    /// Revocations, by manifest.
    revoked: HashMap<Sha256, Vec<u64>>,
}

impl Logs {
    /// Those of a layout; reads nothing yet.
    pub fn of(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            mounted: None,
            open: Mutex::default(),
        }
    }

    /// The same while `node` is mounted at `mountpoint`, which may cover its state.
    pub fn mounted(layout: &Layout, node: NodeId, mountpoint: &Path) -> Self {
        Self {
            mounted: Some((node, mountpoint.join(".atlas/log"))),
            ..Self::of(layout)
        }
    }

    fn directory(&self, node: NodeId) -> Directory {
        match &self.mounted {
            Some((mounted, dir)) if *mounted == node => Directory::flat(dir),
            _ => Directory::new(self.layout.log(node)),
        }
    }

    /// What a node's log says of a manifest; `None` when there is no log, or none that we may read.
    ///
    /// # Errors
    /// When the log is damaged, or reading fails.
    pub fn logged(&self, entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        self.with(entry.node, |log| {
            let found = log.place(entry)?;
            if found.is_none() {
                // What was sealed meanwhile may be logged meanwhile.
                log.catch_up()?;
            }
            let place = match found {
                Some(place) => Some(place),
                None => log.place(entry)?,
            };
            let proof = place.map(|at| log.prove(at, entry.instance)).transpose()?;
            let others = log.instances.get(&entry.instance).into_iter().flatten();
            let others = others.chain(log.revoked.get(&entry.manifest).into_iter().flatten());
            let leaf = |at: &u64| -> Result<Vec<u8>, LogError> {
                let mut proof = log.prove(*at, entry.instance)?;
                proof.extra = Some(log.reader.leaf(*at)?);
                Ok(proof.encode())
            };
            Ok(Logged {
                certificate: Arc::clone(&log.certificate),
                keys: Arc::clone(&log.keys),
                proof: proof.map(|p| p.encode()),
                leaves: others.map(leaf).collect::<Result<_, _>>()?,
                live: true,
            })
        })
    }

    /// Which of these manifests a node's log has. Reads no more of it than it must, and keeps nothing.
    pub fn among(&self, node: NodeId, manifests: &[Sha256]) -> Vec<bool> {
        let Ok(log) = LogReader::open(self.directory(node)) else {
            return vec![false; manifests.len()];
        };
        let finder = Finder::new(&log);
        let is_there = |m: &Sha256| matches!(finder.manifest(m), Ok(Some(_)));
        manifests.iter().map(is_there).collect()
    }

    /// The proof that a node's log grew from `old` leaves to `new`; `None` when there is no such log.
    ///
    /// # Errors
    /// As `logged`.
    pub fn growth(
        &self,
        node: NodeId,
        old: u64,
        new: u64,
    ) -> Result<Option<Vec<Sha256>>, ShelfError> {
        self.with(node, |log| log.reader.consistency(old, new))
    }

    fn with<T>(
        &self,
        node: NodeId,
        ask: impl FnOnce(&mut Log) -> Result<T, LogError>,
    ) -> Result<Option<T>, ShelfError> {
        // What is in it is whole whoever panicked: a log is put in when it is read, and grows at its end.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.directory(node);
        let log = match open.entry(node) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(place) => match Log::open(&dir)? {
                Some(log) => place.insert(log),
                None => return Ok(None),
            },
        };
        ask(log).map(Some).map_err(|e| told(dir.path(), e))
    }
}

fn told(dir: &Path, e: LogError) -> ShelfError {
    let what = dir.display().to_string();
    match e {
        LogError::Source(e) => ShelfError::Io {
            what,
            source: io::Error::other(e.to_string()),
        },
        e => ShelfError::Damaged(format!("{what}: {e}")),
    }
}

impl Log {
    fn open(dir: &Directory) -> Result<Option<Self>, ShelfError> {
        let absent = |e: &io::Error| {
            matches!(
                e.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            )
        };
        // A node's directory is for its owner; to others its log is not here.
        match given::open(&dir.file("checkpoint")) {
            Err(GivenError::Io(e)) if absent(&e) => return Ok(None),
            Err(e) => return Err(failed(&dir.file("checkpoint"), e)),
            Ok(_) => {}
        }
        let reader = LogReader::open(dir.clone()).map_err(|e| told(dir.path(), e))?;
        let mut log = Self {
            heads: Heads::below(dir),
            evidence: HashMap::new(),
            reader,
            certificate: read(dir.file(CERTIFICATE), MAX_CERTIFICATE)?,
            keys: read(dir.file(KEYS), MAX_KEYS)?,
            manifests: Vec::new(),
            instances: HashMap::new(),
            revoked: HashMap::new(),
        };
        log.scan(0).map_err(|e| told(dir.path(), e))?;
        Ok(Some(log))
    }

    /// Takes the places of what stands from `from` on.
    fn scan(&mut self, from: u64) -> Result<(), LogError> {
        let size = self.reader.head().size;
        let mut at = from;
        while at < size {
            let bundle = self.reader.leaves(at / WIDTH)?;
            let first = at - at % WIDTH;
            for (n, bytes) in bundle.iter().enumerate().skip((at - first) as usize) {
                // A leaf of a kind that is not known says nothing here.
                if let Ok(leaf) = Leaf::decode(bytes) {
                    self.take(first + n as u64, &leaf);
                }
            }
            at = first + WIDTH;
        }
        self.manifests.sort_unstable();
        Ok(())
    }

    fn take(&mut self, at: u64, leaf: &Leaf) {
        if let Leaf::Instance {
            instance,
            evidence: Some(evidence),
            ..
        } = leaf
        {
            self.evidence.entry(*instance).or_insert(*evidence);
        }
        match leaf {
            Leaf::Manifest { manifest, .. } => self.manifests.push((prefix(manifest), at)),
            Leaf::Instance { instance, .. }
            | Leaf::Anchor {
                instance,
                last: true,
                ..
            }
            | Leaf::Revocation {
                what: Revoked::Instance(instance),
                ..
            } => self.instances.entry(*instance).or_default().push(at),
            Leaf::Revocation {
                what: Revoked::Manifest(manifest),
                ..
            } => self.revoked.entry(*manifest).or_default().push(at),
            Leaf::Anchor { .. } | Leaf::Inputs { .. } => {}
        }
    }

    /// The first place of a manifest, by who sealed it.
    fn place(&self, entry: &Entry) -> Result<Option<u64>, LogError> {
        let wanted = Leaf::Manifest {
            manifest: entry.manifest,
            instance: entry.instance,
        }
        .encode();
        let key = prefix(&entry.manifest);
        let start = self.manifests.partition_point(|(p, _)| *p < key);
        let same = self.manifests[start..]
            .iter()
            .take_while(|(p, _)| *p == key);
        for (_, at) in same {
            if self.reader.leaf(*at)? == wanted {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// The proof of a leaf, under the head that says most of an instance.
    fn prove(&self, at: u64, instance: InstanceId) -> Result<Proof, LogError> {
        let checkpoint = self
            .heads
            .of(&self.reader, at, self.evidence.get(&instance));
        let size = checkpoint.head.head.size;
        Ok(Proof {
            extra: None,
            index: at,
            hashes: self.reader.inclusion(at, size)?,
            checkpoint,
        })
    }

    /// Goes on to the newest checkpoint.
    fn catch_up(&mut self) -> Result<(), LogError> {
        let known = self.reader.head().size;
        let newer = LogReader::open(self.reader.source().clone())?;
        if newer.head().size > known {
            self.reader = newer;
            self.scan(known)?;
        }
        Ok(())
    }
}

fn prefix(digest: &Sha256) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Nothing where there is no such file.
fn read(path: PathBuf, most: u64) -> Result<Arc<[u8]>, ShelfError> {
    match given::read(&path, most) {
        Ok(bytes) => Ok(bytes.into()),
        Err(GivenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => Ok(Arc::default()),
        Err(e) => Err(failed(&path, e)),
    }
}

fn failed(path: &Path, e: GivenError) -> ShelfError {
    ShelfError::Io {
        what: path.display().to_string(),
        source: e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::leaf::Reason;
    use crate::log::testing::{Files, TestKey};
    use crate::merkle::{is_consistent, leaf_hash};

    const NODE: NodeId = NodeId([7; 16]);
    const INSTANCE: InstanceId = InstanceId([1; 16]);

    fn manifest(n: u64) -> Leaf {
        Leaf::Manifest {
            manifest: Sha256::of(&n.to_be_bytes()),
            instance: INSTANCE,
        }
    }

    /// All are manifests but for the third, which takes the sixth back, and the fourth, of a kind that is not known.
    fn leaf(n: u64) -> Vec<u8> {
        match n {
            2 => Leaf::Revocation {
                what: Revoked::Manifest(Sha256::of(&5_u64.to_be_bytes())),
                reason: Reason::Wrong,
            }
            .encode(),
            3 => b"unknown".to_vec(),
            n => manifest(n).encode(),
        }
    }

    fn entry(n: u64) -> Entry {
        Entry {
            node: NODE,
            manifest: Sha256::of(&n.to_be_bytes()),
            instance: INSTANCE,
        }
    }

    fn state(size: u64) -> (tempfile::TempDir, Logs, Files, TestKey) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path(), None);
        let (key, files) = (
            TestKey::log("log.example", 1),
            Files::new(&layout.log(NODE)),
        );
        files.write(&key, size, leaf);
        let logs = Logs::of(&layout);
        (dir, logs, files, key)
    }

    #[test]
    fn each_manifest_is_found_and_proven_with_what_takes_it_back() {
        for size in [6, 256, 700] {
            let (_dir, logs, ..) = state(size);
            for n in [0, 5, size - 1] {
                let found = logs.logged(&entry(n)).unwrap().unwrap();
                let proof = Proof::parse(&found.proof.unwrap()).unwrap();
                assert_eq!((proof.index, proof.checkpoint.head.head.size), (n, size));
                assert!(proof.holds(&manifest(n).hash()));
                assert_eq!(found.leaves.len(), usize::from(n == 5));
                for other in &found.leaves {
                    let other = Proof::parse(other).unwrap();
                    assert!(other.holds(&leaf_hash(other.extra.as_deref().unwrap())));
                }
            }
            let absent = logs.logged(&entry(9999)).unwrap().unwrap();
            assert_eq!(absent.proof, None);
        }
    }

    #[test]
    fn what_is_logged_later_is_found_and_the_growth_is_shown() {
        let (_dir, logs, files, key) = state(300);
        let old = logs.logged(&entry(0)).unwrap().unwrap();
        assert_eq!(logs.logged(&entry(600)).unwrap().unwrap().proof, None);
        files.write(&key, 700, leaf);
        let new = logs.logged(&entry(600)).unwrap().unwrap();
        let head = |l: Logged| {
            Proof::parse(&l.proof.unwrap())
                .unwrap()
                .checkpoint
                .head
                .head
        };
        let (old, new) = (head(old), head(new));
        let grown = logs.growth(NODE, old.size, new.size).unwrap().unwrap();
        assert!(is_consistent(&old, &new, &grown));
    }

    #[test]
    fn without_a_checkpoint_there_is_no_log_and_a_damaged_one_is_said() {
        let (dir, logs, ..) = state(300);
        let other = Entry {
            node: NodeId([8; 16]),
            ..entry(0)
        };
        assert_eq!(logs.logged(&other).unwrap(), None);
        let tile = dir
            .path()
            .join(format!("nodes/{NODE}/log/tile/entries/000"));
        let mut bytes = std::fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        assert!(matches!(
            logs.logged(&entry(0)),
            Err(ShelfError::Damaged(_))
        ));
    }
}
