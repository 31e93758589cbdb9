//! How reference values are signed: DSSE envelopes and the keys of those who sign them. Not where they lie, nor what they say.

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{Document, Vouched};
use crate::bytes::{base64, unbase64};
use crate::digest::Sha256;
use crate::evidence::binding::spki_digest;
use crate::given::{self, GivenError};

/// DSSE's `payloadType`.
pub const PAYLOAD_TYPE: &str = "application/vnd.atlas.reference+json";
/// No document is larger, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Why reference values cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what it should be.
    #[error("{path:?}: {what}")]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Nobody whom we know vouches for it.
    #[error("{path:?}: {what}")]
    Untrusted {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// `remove` found none, or more than one.
    #[error("{0}")]
    NotFound(String),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// DSSE's pre-authentication encoding.
fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}
impl Document {
    /// Signs it: a DSSE envelope in JSON.
    ///
    /// # Errors
    /// When `key_pem` is not an Ed25519 key in PKCS #8 PEM.
    pub fn sign(&self, key_pem: &str) -> Result<String, String> {
        let key = SigningKey::from_pkcs8_pem(key_pem)
            .map_err(|_| "not an Ed25519 key in PKCS #8 PEM: make one with openssl genpkey -algorithm ed25519".to_owned())?;
        let payload = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        let envelope = Envelope {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: base64(&payload),
            signatures: vec![EnvelopeSignature {
                keyid: spki_digest(&key.verifying_key().to_bytes()).hex(),
                sig: base64(&key.sign(&pae(&payload)).to_bytes()),
            }],
        };
        serde_json::to_string_pretty(&envelope).map_err(|e| e.to_string())
    }
}

/// Who signs reference values: an Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceSigner {
    key: VerifyingKey,
}

impl ReferenceSigner {
    /// Reads a SubjectPublicKeyInfo in PEM, or the certificate of an Atlas authority.
    ///
    /// # Errors
    /// What it is not, in one line.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let what = "not an Ed25519 public key, nor a certificate with one, in PEM";
        if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
            return Ok(Self { key });
        }
        let pem = pem::parse(text).map_err(|_| what.to_owned())?;
        let (_, cert) =
            x509_parser::parse_x509_certificate(pem.contents()).map_err(|_| what.to_owned())?;
        let bytes = &cert.public_key().subject_public_key.data;
        let key = <[u8; 32]>::try_from(&**bytes)
            .ok()
            .and_then(|b| VerifyingKey::from_bytes(&b).ok());
        key.map(|key| Self { key }).ok_or_else(|| what.to_owned())
    }

    /// SHA-256 of its SubjectPublicKeyInfo: DSSE's `keyid`.
    pub fn id(&self) -> Sha256 {
        spki_digest(&self.key.to_bytes())
    }

    /// The public key alone in PEM, whatever it was read from.
    pub(super) fn pem(&self) -> Result<String, String> {
        let made = self.key.to_public_key_pem(LineEnding::LF);
        made.map_err(|e| e.to_string())
    }
}
/// Reads a signer's public key.
///
/// # Errors
/// Not readable, or no such key.
pub fn signer(file: &Path) -> Result<ReferenceSigner, ReferenceError> {
    let bytes = read_limited(file)?;
    let text = String::from_utf8_lossy(&bytes);
    ReferenceSigner::from_pem(&text).map_err(unfit(file))
}

/// Reads one file: an envelope, whose signature must be by one of `signers`, or (with `unsigned`) a bare document.
///
/// # Errors
/// Not readable, not a document, or not signed by anybody known.
pub fn read(
    file: &Path,
    signers: &[ReferenceSigner],
    unsigned: bool,
) -> Result<Vouched, ReferenceError> {
    parse(file, &read_limited(file)?, signers, unsigned)
}

/// As `read`, of the file's bytes.
pub(super) fn parse(
    file: &Path,
    bytes: &[u8],
    signers: &[ReferenceSigner],
    unsigned: bool,
) -> Result<Vouched, ReferenceError> {
    let vouched = |document, signer| Vouched {
        document,
        fingerprint: Sha256::of(bytes),
        signer,
        file: file.to_owned(),
    };
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else {
        let document = Document::parse(bytes).map_err(unfit(file))?;
        if !unsigned {
            return Err(untrusted(
                file,
                "nobody signed it: sign it with atlasctl reference sign, or add it with --unsigned",
            ));
        }
        return Ok(vouched(document, None));
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(unfit(file)(format!("its payload is not {PAYLOAD_TYPE}")));
    }
    let payload = unbase64(&envelope.payload)
        .ok_or_else(|| unfit(file)("its payload is not base64".to_owned()))?;
    let message = pae(&payload);
    // The key id is only a hint, and not signed: every signer is tried.
    let signed = envelope.signatures.iter().find_map(|s| {
        let signature = Signature::from_slice(&unbase64(&s.sig)?).ok()?;
        let good = |k: &&ReferenceSigner| k.key.verify_strict(&message, &signature).is_ok();
        signers.iter().find(good).map(ReferenceSigner::id)
    });
    let signer = signed.ok_or_else(|| {
        let what = "no signature of a known signer: give its public key with --signer when it is added; if you did, it was changed since it was signed";
        untrusted(file, what)
    })?;
    let document = Document::parse(&payload).map_err(unfit(file))?;
    Ok(vouched(document, Some(signer)))
}

/// A pipe under its name would otherwise keep us waiting for somebody to write.
pub(in crate::evidence) fn read_limited(file: &Path) -> Result<Vec<u8>, ReferenceError> {
    given::read(file, MAX_FILE).map_err(|e| match e {
        GivenError::Io(e) => io_error(file)(e),
        GivenError::NotAFile => unfit(file)("not a regular file".to_owned()),
        GivenError::TooLong(most) => unfit(file)(format!("longer than {most} bytes")),
    })
}

pub(in crate::evidence) fn unfit(path: &Path) -> impl FnOnce(String) -> ReferenceError + use<> {
    let path = path.to_owned();
    move |what| ReferenceError::Unfit { path, what }
}

fn untrusted(path: &Path, what: &str) -> ReferenceError {
    ReferenceError::Untrusted {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ReferenceError + use<> {
    let path = path.to_owned();
    move |source| ReferenceError::Io { path, source }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::super::tests::{found, references};
    use super::*;
    use ed25519_dalek::pkcs8::EncodePrivateKey as _;

    /// A private and its public key in PEM.
    pub(in crate::evidence::reference) fn keys(seed: u8) -> (String, String) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let private = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
        (private, public.unwrap())
    }

    #[test]
    fn values_signed_by_a_stranger_or_changed_since_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, public) = keys(1);
        let (_, stranger) = keys(2);
        let document = references(vec![found()]).documents.remove(0).document;
        let signed = document.sign(&mine).unwrap();
        let file = dir.path().join("r.json");
        fs::write(&file, &signed).unwrap();
        let signer = ReferenceSigner::from_pem(&public).unwrap();
        let other = ReferenceSigner::from_pem(&stranger).unwrap();
        let got = read(&file, &[other.clone(), signer.clone()], false).unwrap();
        assert_eq!(
            (got.document, got.signer),
            (document.clone(), Some(signer.id()))
        );
        // Also where bare documents would do: a signature that nobody knows does not make it one.
        assert!(read(&file, &[other], true).is_err());
        let mut envelope: serde_json::Value = serde_json::from_str(&signed).unwrap();
        let changed = Document {
            name: "other".to_owned(),
            ..document.clone()
        };
        envelope["payload"] = base64(&serde_json::to_vec(&changed).unwrap()).into();
        fs::write(&file, envelope.to_string()).unwrap();
        assert!(read(&file, &[signer], true).is_err());
        fs::write(&file, serde_json::to_string(&document).unwrap()).unwrap();
        assert!(
            read(&file, &[], false)
                .unwrap_err()
                .to_string()
                .contains("--unsigned")
        );
        assert!(read(&file, &[], true).is_ok());
    }
}
