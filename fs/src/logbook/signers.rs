//! Who signs this log's checkpoints: the node's key always, and the instance's where a quote binds it; and where anybody finds these keys.

use std::io;
use std::path::Path;
use std::sync::Arc;

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::digest::Sha256;
use atlas_manifests::log::append::Signer;
use atlas_manifests::log::note::{KeyKind, Signature, VerifierKey};
use atlas_manifests::log::operator::LogKey;

use crate::mount::state::replace;

/// Keys by which this log was ever signed, one a line. Not trusted for lying there.
const KEYS: &str = "keys";
/// The authority's word for the first of them.
const CERTIFICATE: &str = "certificate.pem";

/// The log's own key, for all lives.
pub(super) struct NodeSigner(pub(super) LogKey);

impl Signer for NodeSigner {
    fn sign(&self, text: &[u8]) -> Signature {
        self.0.verifier_key().line(self.0.sign(text).to_vec())
    }
}

/// The key of one life, whose name says which evidence binds it.
pub(super) struct InstanceSigner {
    key: VerifierKey,
    secret: Arc<InstanceKey>,
}

impl InstanceSigner {
    pub(super) fn new(
        origin: &str,
        evidence: &Sha256,
        secret: Arc<InstanceKey>,
    ) -> Result<Self, String> {
        let name = format!("{origin}/{}", evidence.hex());
        let key = VerifierKey::new(&name, KeyKind::Ed25519, secret.public());
        Ok(Self {
            key: key.map_err(|e| e.to_string())?,
            secret,
        })
    }

    pub(super) fn key(&self) -> &VerifierKey {
        &self.key
    }
}

impl Signer for InstanceSigner {
    fn sign(&self, text: &[u8]) -> Signature {
        self.key.line(self.secret.sign(text).to_vec())
    }
}

/// Puts the log's key and its certificate where readers look.
pub(super) fn publish(dir: &Path, key: &VerifierKey, certificate: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    replace(&dir.join(CERTIFICATE), certificate.as_bytes())?;
    add(dir, key)
}

/// Adds a key to those that are known, if it is not among them.
pub(super) fn add(dir: &Path, key: &VerifierKey) -> io::Result<()> {
    let path = dir.join(KEYS);
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    let line = key.to_string();
    if text.lines().any(|l| l == line) {
        return Ok(());
    }
    text.push_str(&line);
    text.push('\n');
    replace(&path, text.as_bytes())
}
