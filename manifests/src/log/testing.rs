//! Keys and heads for tests of the log. Not compiled into what ships.

use ed25519_dalek::Signer as _;

use super::checkpoint::Checkpoint;
use super::edge::Edge;
use super::note::{KeyKind, VerifierKey};
use super::tile::{Bundle, Resource, encode_hashes};
use crate::digest::Sha256;
use crate::evidence::LogHead;
use crate::merkle::leaf_hash;
use crate::statement::SetHead;

/// A key that anybody could make.
pub(crate) struct TestKey {
    pub(crate) key: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl TestKey {
    pub(crate) fn log(name: &str, seed: u8) -> Self {
        Self::make(name, KeyKind::Ed25519, seed)
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        Self::make(name, KeyKind::Cosignature, seed)
    }

    fn make(name: &str, kind: KeyKind, seed: u8) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = secret.verifying_key().to_bytes();
        Self {
            key: VerifierKey::new(name, kind, public).unwrap(),
            secret,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }

    /// A checkpoint that this log signed.
    pub(crate) fn checkpoint(&self, head: SetHead) -> Checkpoint {
        let mut made = Checkpoint::of(LogHead {
            origin: self.key.name().to_owned(),
            head,
        })
        .unwrap();
        let line = self.sign(made.note.text.as_bytes()).to_vec();
        made.note.add(self.key.line(line));
        made
    }
}

/// Some log's head, by a seed of its root.
pub(crate) fn head(seed: &[u8], size: u64) -> LogHead {
    LogHead {
        origin: "log.example/1".to_owned(),
        head: SetHead {
            size,
            root: Sha256::of(seed),
        },
    }
}

/// A log's files, written plainly: for readers' tests, which must not depend on the writer.
pub(crate) struct Files(std::path::PathBuf);

impl Files {
    pub(crate) fn new(dir: &std::path::Path) -> Self {
        Self(dir.to_owned())
    }

    /// All files of the log with these leaves, and its checkpoint.
    pub(crate) fn write(&self, key: &TestKey, size: u64, leaf: impl Fn(u64) -> Vec<u8>) {
        let put = |name: &Resource, bytes: &[u8]| {
            let path = self.0.join(name.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let (mut edge, mut full, mut bundle) = (Edge::default(), Vec::new(), Bundle::default());
        for n in 0..size {
            let leaf = leaf(n);
            bundle.push(&leaf).unwrap();
            edge.push(leaf_hash(&leaf), &mut full);
            if (n + 1) % 256 == 0 {
                put(&Resource::full_entries(n / 256), bundle.bytes());
                bundle = Bundle::default();
            }
        }
        for tile in full {
            let name = Resource::full(tile.level, tile.index);
            put(&name, &encode_hashes(&tile.hashes));
        }
        for (name, hashes) in edge.partial() {
            put(&name, &encode_hashes(hashes));
        }
        if !bundle.is_empty() {
            let (index, width) = (size / 256, bundle.len() as u16);
            put(&Resource::Entries { index, width }, bundle.bytes());
        }
        let checkpoint = key.checkpoint(edge.head());
        put(&Resource::Checkpoint, &checkpoint.encode());
    }
}
