//! The log's own long-lived key and the certificate by which whoever pinned the authority knows it. Not the key that a quote binds: that dies with its instance.

use std::path::{Path, PathBuf};

use rcgen::SanType;
use x509_parser::prelude::GeneralName;
use zeroize::Zeroizing;

use super::note::{KeyKind, NoteError, VerifierKey, is_name};
use crate::authority::files::{hold, put, read};
use crate::authority::{Authority, AuthorityError, Key, signer};
use crate::certificate;
use crate::id::NodeId;
use crate::trust::Anchors;

/// What a log's certificate calls its subject, before the node.
const SUBJECT: &str = "Atlas log ";
/// What stands before the origin in the certificate's one alternative name.
const SCHEME: &str = "https://";
/// No certificate of a log is longer in PEM, in bytes.
pub const MAX_CERTIFICATE: u64 = 16 << 10;

/// A log's origin when nothing else is configured.
pub fn usual_origin(node: NodeId) -> String {
    format!("atlasfs.org/log/{node}")
}

/// The key that signs every checkpoint of one node's log. Its file lies beside the authority's key.
pub struct LogKey {
    key: Key,
    verifier: VerifierKey,
    certificate: String,
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogKey({})", self.verifier)
    }
}

impl LogKey {
    /// Opens the key of this node's log in the authority's directory, or makes it once and for all. Key and certificate are one file, so that
    /// a crash leaves both or neither.
    ///
    /// # Errors
    /// When the file cannot be read or written, others can read it, it is not a log's key, or is that of a log of another origin.
    pub fn open_or_create(
        authority: &Authority,
        dir: &Path,
        node: NodeId,
        origin: &str,
    ) -> Result<Self, AuthorityError> {
        let name = format!("log-{node}.pem");
        let path = dir.join(&name);
        let wrong = |what: &str| AuthorityError::Log {
            path: path.clone(),
            what: what.to_owned(),
        };
        if !is_name(origin) {
            return Err(wrong(
                "the origin that is configured for this log is empty, or has spaces or a plus: choose one like log.example.org/name",
            ));
        }
        let held = hold(dir)?;
        let (key, old) = match read(&path, true)? {
            Some(text) => parse(&text).ok_or_else(|| {
                wrong("holds no Ed25519 key in PKCS #8 PEM with a log's certificate: restore it from a backup")
            })?,
            None => (Key::generate().map_err(io(&path))?, None),
        };
        let anchors = Anchors::from_pem(authority.certificate_pem())
            .map_err(|_| wrong("the authority's own certificate cannot be read"))?;
        let verifier = VerifierKey::new(origin, KeyKind::Ed25519, key.public())
            .map_err(|NoteError(what)| wrong(what))?;
        let known = old.as_ref().and_then(|pem| read_certificate(pem).ok());
        if let Some(known) = known.filter(|k| k.key.name() != origin || k.node != node) {
            let (is, of) = (known.key.name(), known.node);
            return Err(wrong(&format!(
                "is the key of the log {is} of node {of}: configure that origin again, or move this node's log and this file away for a new log"
            )));
        }
        // One by an authority that was replaced is made anew: the key stays.
        let good = |pem: &String| {
            certified(pem.as_bytes(), &anchors).is_ok_and(|c| c.key == verifier && c.node == node)
        };
        let certificate = match old.filter(good) {
            Some(pem) => pem,
            None => {
                let pem = certify(authority, node, origin, key.public())?;
                let mut text = Zeroizing::new(String::clone(&*key.pem().map_err(io(&path))?));
                text.push_str(&pem);
                put(&held, dir, &name, text.as_bytes(), 0o600)?;
                pem
            }
        };
        Ok(Self {
            key,
            verifier,
            certificate,
        })
    }

    /// An Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }

    /// The secret that marks the log's write-ahead log as its own. Follows from the key, so that it is as old and as well kept as that.
    pub fn wal_key(&self) -> [u8; 32] {
        self.key.derived("atlas 2026-11 log write-ahead key")
    }

    /// What others check its signatures with: its name is the log's origin.
    pub fn verifier_key(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// The certificate, in PEM, for the log's directory.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> AuthorityError + '_ {
    move |source| AuthorityError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A key, and the certificate behind it.
fn parse(text: &str) -> Option<(Key, Option<String>)> {
    let at = text.find("-----BEGIN CERTIFICATE-----");
    let (key, certificate) = text.split_at(at.unwrap_or(text.len()));
    let certificate = (!certificate.is_empty()).then(|| certificate.to_owned());
    Some((Key::from_pem(key.trim_end())?, certificate))
}

fn certify(
    authority: &Authority,
    node: NodeId,
    origin: &str,
    public: [u8; 32],
) -> Result<String, AuthorityError> {
    let mut leaf = signer(&format!("{SUBJECT}{node}"))?;
    let name = format!("{SCHEME}{origin}").try_into()?;
    leaf.subject_alt_names = vec![SanType::URI(name)];
    Ok(authority.signed(leaf, public)?.pem())
}

/// What a pinned authority says of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedLog {
    /// Whose log it is.
    pub node: NodeId,
    /// Its key, under its origin.
    pub key: VerifierKey,
    /// First and last second of the certificate, since 1970.
    pub valid: (i64, i64),
}

/// Why a log's certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UncertifiedError {
    /// It is not a log's certificate.
    #[error("not the certificate of a log: {0}")]
    Unfit(&'static str),
    /// It is one, and nobody who is pinned signed it.
    #[error("no authority that is trusted signed the log's certificate")]
    Untrusted,
}

/// Reads a log's certificate (untrusted, PEM) and believes it when one of the anchors signed it. The caller compares the node, and the time.
///
/// # Errors
/// When it is anything else.
pub fn certified(pem: &[u8], anchors: &Anchors) -> Result<CertifiedLog, UncertifiedError> {
    let (log, der) = read_der(pem)?;
    let unfit = UncertifiedError::Unfit;
    let cert = certificate::sound(&der).map_err(unfit)?;
    let pinned = pem::parse_many(&anchors.pem).unwrap_or_default();
    let signed = pinned
        .iter()
        .any(|anchor| certificate::signed_by(&cert, anchor.contents()));
    signed.then_some(log).ok_or(UncertifiedError::Untrusted)
}

fn read_certificate(pem: &str) -> Result<CertifiedLog, UncertifiedError> {
    read_der(pem.as_bytes()).map(|(log, _)| log)
}

fn read_der(pem: &[u8]) -> Result<(CertifiedLog, Vec<u8>), UncertifiedError> {
    let unfit = UncertifiedError::Unfit;
    if pem.len() as u64 > MAX_CERTIFICATE {
        return Err(unfit("it is too long"));
    }
    let blocks = pem::parse_many(pem).map_err(|_| unfit("it is not PEM"))?;
    let [block] = blocks.as_slice() else {
        return Err(unfit("it is not one certificate"));
    };
    if block.tag() != "CERTIFICATE" {
        return Err(unfit("it is not one certificate"));
    }
    let der = block.contents().to_vec();
    let log = read_log(&der).map_err(unfit)?;
    Ok((log, der))
}

fn read_log(der: &[u8]) -> Result<CertifiedLog, &'static str> {
    let cert = certificate::sound(der)?;
    // Neither may pass for the other: an instance's seals, a log's signs checkpoints and nothing else.
    if !matches!(cert.extended_key_usage(), Ok(None)) || certificate::evidence(der) != Ok(None) {
        return Err("it was made for another use");
    }
    let mut names = cert.subject().iter_common_name();
    let node = names
        .next()
        .and_then(|n| n.as_str().ok()?.strip_prefix(SUBJECT)?.parse().ok());
    let (Some(node), None) = (node, names.next()) else {
        return Err("it names no node's log");
    };
    let alternative = cert
        .subject_alternative_name()
        .map_err(|_| "its names cannot be read")?;
    let origin = alternative.and_then(|names| match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => uri.strip_prefix(SCHEME),
        _ => None,
    });
    let origin = origin.ok_or("it names no origin")?;
    // The usual name of a node's log is no other's: who remembers heads by name would take one for the other.
    let usual = usual_origin(node);
    let (place, _) = usual.rsplit_once('/').unwrap_or((&usual, ""));
    if origin != usual
        && origin
            .strip_prefix(place)
            .is_some_and(|o| o.starts_with('/'))
    {
        return Err("it names the origin of another node's log");
    }
    let public = certificate::ed25519(&cert).ok_or("its key is not Ed25519")?;
    let key = VerifierKey::new(origin, KeyKind::Ed25519, public)
        .map_err(|_| "its origin could not be that of a log")?;
    let valid = cert.validity();
    Ok(CertifiedLog {
        node,
        key,
        valid: (valid.not_before.timestamp(), valid.not_after.timestamp()),
    })
}

/// Where the key of a node's log lies.
pub fn key_file(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(format!("log-{node}.pem"))
}

#[cfg(test)]
#[path = "operator_tests.rs"]
mod tests;
