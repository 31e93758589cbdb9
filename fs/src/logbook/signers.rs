//! Who signs this log's checkpoints: the node's key always, and the instance's where a quote binds it; and where anybody finds these keys.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::digest::Sha256;
use atlas_manifests::log::append::Signer;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::{KeyKind, Signature, VerifierKey};
use atlas_manifests::log::operator::LogKey;
use atlas_manifests::log::state::{CERTIFICATE, COSIGNED, KEYS, bound_name, head_file};

use crate::mount::state::replace;

/// Those who sign each checkpoint.
pub(super) struct Signers {
    /// The log's own key, for all lives.
    pub(super) node: LogKey,
    /// That of this life, once it has begun in the log.
    pub(super) instance: Arc<OnceLock<InstanceSigner>>,
}

impl Signer for Signers {
    fn sign(&self, text: &str) -> Result<Vec<Signature>, String> {
        let node = self.node.sign(text.as_bytes()).to_vec();
        let mut lines = vec![self.node.verifier_key().line(node)];
        if let Some(instance) = self.instance.get() {
            let signature = instance.secret.sign(text.as_bytes()).to_vec();
            lines.push(instance.key.line(signature));
        }
        Ok(lines)
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
        let name = bound_name(origin, evidence);
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

/// Puts the log's key and its certificate where readers look.
pub(super) fn publish(dir: &Path, key: &VerifierKey, certificate: &str) -> io::Result<()> {
    make_dir(dir)?;
    replace(&dir.join(CERTIFICATE), certificate.as_bytes())?;
    add(dir, key)
}

/// With a mode: the daemon's umask is 0.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mut made = std::fs::DirBuilder::new();
    made.recursive(true).mode(0o755).create(dir)
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

/// Keeps the newest checkpoint that witnesses signed, for proofs of what is below it.
pub(super) fn cosigned(dir: &Path, checkpoint: &Checkpoint) {
    let path = dir.join(COSIGNED);
    if let Err(e) = replace(&path, &checkpoint.encode()) {
        tracing::warn!("{}: {e}", path.display());
    }
}

/// Keeps the last head of the life before, for the evidence that its second line names: proofs of what that life sealed need no later one.
pub(super) fn archive(dir: &Path) {
    let published = std::fs::read(dir.join("checkpoint"));
    // Without one there was no life before; a damaged one is refused when the log is opened.
    let Some(last) = published.ok().and_then(|b| Checkpoint::parse(&b).ok()) else {
        return;
    };
    let prefix = format!("{}/", last.head.origin);
    let lines = last.note.signatures.iter();
    let named = lines.filter_map(|l| Sha256::from_hex(l.name.strip_prefix(&prefix)?).ok());
    for evidence in named {
        let path = dir.join(head_file(&evidence));
        let made = path.parent().map_or(Ok(()), make_dir);
        if let Err(e) = made.and_then(|()| replace(&path, &last.encode())) {
            tracing::warn!("{}: {e}", path.display());
        }
    }
}
