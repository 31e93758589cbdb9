//! Keys and heads for tests of the log. Not compiled into what ships.

use ed25519_dalek::Signer as _;

use super::checkpoint::Checkpoint;
use super::note::{KeyKind, VerifierKey};
use crate::digest::Sha256;
use crate::evidence::LogHead;
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
