//! Reference values: measurements and contents that somebody vouches for (RATS; the paper's golden values). Signed in DSSE envelopes, pinned outside
//! the data. Says whether a quote or a content is among them, not what follows from it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::binding::spki_digest;
use super::event::Rtmr;
use super::quote::Quote;
use crate::bytes::{base64, unbase64};
use crate::digest::{Blake3, Digests, Sha256, hex, unhex};
use crate::durable::{make_dir, write_durably};

/// Where root pins reference values for everybody on the machine.
pub const SYSTEM_DIR: &str = "/etc/atlas/reference";
/// DSSE's `payloadType`.
pub const PAYLOAD_TYPE: &str = "application/vnd.atlas.reference+json";
/// No document is larger, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The registers that must all be given for a verdict of affirming.
const MANDATORY: [&str; 5] = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "mrconfigid"];

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
}

/// What somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// 1.
    pub v: u32,
    /// What it is called: an image and its version, a data set.
    pub name: String,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
    /// Sets of registers, each good by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurements>,
    /// Contents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

/// Registers of one booted image. Those that are absent are not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "Intel's names")]
pub struct Measurements {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrtd: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrconfigid: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrowner: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrownerconfig: Option<Register>,
}

/// A register in 96 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub Rtmr);

impl Serialize for Register {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0.0))
    }
}

impl<'de> Deserialize<'de> for Register {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = unhex(&text).and_then(|b| b.try_into().ok());
        bytes
            .map(|b| Self(Rtmr(b)))
            .ok_or_else(|| serde::de::Error::custom("a register is 96 lowercase hex digits"))
    }
}

impl Measurements {
    /// What a quote says.
    pub fn of(quote: &Quote<'_>) -> Self {
        let register = |r| Some(Register(r));
        Self {
            mrtd: register(quote.mrtd()),
            rtmr0: register(quote.rtmr(0)),
            rtmr1: register(quote.rtmr(1)),
            rtmr2: register(quote.rtmr(2)),
            mrconfigid: register(quote.mrconfigid()),
            mrowner: register(quote.mrowner()),
            mrownerconfig: register(quote.mrownerconfig()),
        }
    }

    /// By name, in order.
    pub fn registers(&self) -> [(&'static str, Option<Rtmr>); 7] {
        [
            ("mrtd", self.mrtd),
            ("rtmr0", self.rtmr0),
            ("rtmr1", self.rtmr1),
            ("rtmr2", self.rtmr2),
            ("mrconfigid", self.mrconfigid),
            ("mrowner", self.mrowner),
            ("mrownerconfig", self.mrownerconfig),
        ]
        .map(|(name, register)| (name, register.map(|r| r.0)))
    }

    /// Mandatory registers that are not given.
    pub fn missing(&self) -> Vec<&'static str> {
        let absent = |(name, register): &(&'static str, Option<Rtmr>)| {
            register.is_none() && MANDATORY.contains(name)
        };
        self.registers()
            .into_iter()
            .filter(absent)
            .map(|(name, _)| name)
            .collect()
    }

    /// Registers that are given and differ.
    fn differing(&self, other: &Self) -> Vec<&'static str> {
        let mine = self.registers().into_iter().zip(other.registers());
        mine.filter(|((_, a), (_, b))| a.is_some() && a != b)
            .map(|((name, _), _)| name)
            .collect()
    }
}

/// One content, by either digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// `blake3:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3>,
}

impl Artifact {
    fn is(&self, content: &Digests) -> bool {
        let said = self.sha256.is_some() || self.blake3.is_some();
        said && self.sha256.is_none_or(|d| d == content.sha256)
            && self.blake3.is_none_or(|d| d == content.blake3)
    }
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
    /// Reads a document that nobody signed.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if document.v != 1 {
            return Err(format!(
                "written in version {} of the format; use a newer atlasctl",
                document.v
            ));
        }
        if document.measurements.is_empty() && document.artifacts.is_empty() {
            return Err("it vouches for nothing: give measurements or artifacts".to_owned());
        }
        let nothing = Measurements::default();
        if document.measurements.contains(&nothing) {
            return Err(
                "a set of measurements without any register would fit every machine".to_owned(),
            );
        }
        if document
            .artifacts
            .iter()
            .any(|a| a.sha256.is_none() && a.blake3.is_none())
        {
            return Err("an artifact without a digest would fit every file".to_owned());
        }
        Ok(document)
    }

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
}

/// A document with what is known of who vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// What is vouched for.
    pub document: Document,
    /// Who signed it; `None`: nobody, it was pinned as it is.
    pub signer: Option<Sha256>,
    /// Where it was read.
    pub file: PathBuf,
}

/// All reference values that a verdict may rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// One for each file.
    pub documents: Vec<Vouched>,
}

/// How a quote's registers compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// There are no measurements to compare with.
    Nothing,
    /// All that is mandatory is given and equal.
    Full(String),
    /// What is given is equal, and these are not given.
    Partial(String, Vec<&'static str>),
    /// The nearest one, and what differs from it.
    Differs(String, Vec<&'static str>),
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
    let unfit = |what: String| ReferenceError::Unfit {
        path: file.to_owned(),
        what,
    };
    let bytes = read_limited(file)?;
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else {
        let document = Document::parse(&bytes).map_err(unfit)?;
        if !unsigned {
            return Err(unfit(
                "nobody signed it: sign it with atlasctl reference sign, or add it with --unsigned"
                    .to_owned(),
            ));
        }
        return Ok(Vouched {
            document,
            signer: None,
            file: file.to_owned(),
        });
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(unfit(format!("its payload is not {PAYLOAD_TYPE}")));
    }
    let payload =
        unbase64(&envelope.payload).ok_or_else(|| unfit("its payload is not base64".to_owned()))?;
    let message = pae(&payload);
    // The key id is only a hint, and not signed: every signer is tried.
    let signed = envelope.signatures.iter().find_map(|s| {
        let signature = Signature::from_slice(&unbase64(&s.sig)?).ok()?;
        let good = |k: &&ReferenceSigner| k.key.verify_strict(&message, &signature).is_ok();
        signers.iter().find(good).map(ReferenceSigner::id)
    });
    let signer = signed.ok_or_else(|| {
        unfit(
            "no signature of a known signer: give its public key with --signer when it is added"
                .to_owned(),
        )
    })?;
    let document = Document::parse(&payload).map_err(unfit)?;
    Ok(Vouched {
        document,
        signer: Some(signer),
        file: file.to_owned(),
    })
}

impl References {
    /// Reads what is pinned in the directories (`*.json`, with `signers/*.pem`), and the files given with their signers. A file that
    /// cannot be used is an error, so that a verdict never rests on less than the person believes.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(
        dirs: &[PathBuf],
        files: &[PathBuf],
        signers: &[PathBuf],
    ) -> Result<Self, ReferenceError> {
        let mut all = Self::default();
        let mut known = Vec::new();
        for file in signers {
            known.push(signer(file)?);
        }
        for dir in dirs {
            let mut here = known.clone();
            for file in listed(&dir.join("signers"), "pem")? {
                here.push(signer(&file)?);
            }
            for file in listed(dir, "json")? {
                // Being here is being pinned. A policy that names signers wants more.
                all.documents.push(read(&file, &here, signers.is_empty())?);
            }
        }
        for file in files {
            all.documents.push(read(file, &known, signers.is_empty())?);
        }
        Ok(all)
    }

    /// How these registers compare with what is vouched for.
    pub fn compare(&self, found: &Measurements) -> Match {
        let mut nearest: Option<(String, Vec<&'static str>)> = None;
        let mut partial = None;
        for vouched in &self.documents {
            for wanted in &vouched.document.measurements {
                let name = || vouched.document.name.clone();
                let differing = wanted.differing(found);
                if differing.is_empty() {
                    let missing = wanted.missing();
                    if missing.is_empty() {
                        return Match::Full(name());
                    }
                    partial.get_or_insert_with(|| Match::Partial(name(), missing));
                } else if nearest
                    .as_ref()
                    .is_none_or(|(_, d)| differing.len() < d.len())
                {
                    nearest = Some((name(), differing));
                }
            }
        }
        partial
            .or_else(|| nearest.map(|(name, differing)| Match::Differs(name, differing)))
            .unwrap_or(Match::Nothing)
    }

    /// Who vouches for this content: the document's name, and the content's own.
    pub fn artifact(&self, content: &Digests) -> Option<String> {
        self.documents.iter().find_map(|v| {
            let artifact = v.document.artifacts.iter().find(|a| a.is(content))?;
            Some(match &artifact.name {
                Some(name) => format!("{} ({name})", v.document.name),
                None => v.document.name.clone(),
            })
        })
    }
}

/// Reads a signer's public key.
///
/// # Errors
/// Not readable, or no such key.
pub fn signer(file: &Path) -> Result<ReferenceSigner, ReferenceError> {
    let bytes = read_limited(file)?;
    let text = String::from_utf8_lossy(&bytes);
    ReferenceSigner::from_pem(&text).map_err(|what| ReferenceError::Unfit {
        path: file.to_owned(),
        what,
    })
}

/// Pins a file in a directory, under the digest of its bytes, and with it the signer's key. Durable when it returns.
///
/// # Errors
/// When the file cannot be used, or the directory cannot be written.
pub fn add(
    dir: &Path,
    file: &Path,
    signer_file: Option<&Path>,
    unsigned: bool,
) -> Result<Vouched, ReferenceError> {
    let mut signers = Vec::new();
    for pinned in listed(&dir.join("signers"), "pem")? {
        signers.push(signer(&pinned)?);
    }
    let given = match signer_file {
        Some(path) => Some((signer(path)?, read_limited(path)?)),
        None => None,
    };
    signers.extend(given.iter().map(|(s, _)| s.clone()));
    let mut vouched = read(file, &signers, unsigned)?;
    let bytes = read_limited(file)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReferenceError::Io { path, source }
    };
    if let Some((key, pem)) = given.filter(|(s, _)| Some(s.id()) == vouched.signer) {
        let place = dir.join("signers");
        make_dir(&place, 0o755).map_err(io(&place))?;
        let to = place.join(format!("{}.pem", key.id().hex()));
        write_durably(&to, &pem, 0o644).map_err(io(&to))?;
    }
    make_dir(dir, 0o755).map_err(io(dir))?;
    let to = dir.join(format!("{}.json", Sha256::of(&bytes).hex()));
    write_durably(&to, &bytes, 0o644).map_err(io(&to))?;
    vouched.file = to;
    Ok(vouched)
}

fn listed(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, ReferenceError> {
    let io = |source| ReferenceError::Io {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_limited(file: &Path) -> Result<Vec<u8>, ReferenceError> {
    let io = |source| ReferenceError::Io {
        path: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(io)?;
    opened
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReferenceError::Unfit {
            path: file.to_owned(),
            what: format!("longer than {MAX_FILE} bytes"),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(byte: u8) -> Option<Register> {
        Some(Register(Rtmr([byte; 48])))
    }

    fn found() -> Measurements {
        Measurements {
            mrtd: register(1),
            rtmr0: register(2),
            rtmr1: register(3),
            rtmr2: register(4),
            mrconfigid: register(5),
            mrowner: register(6),
            mrownerconfig: register(7),
        }
    }

    fn references(measurements: Vec<Measurements>) -> References {
        References {
            documents: vec![Vouched {
                document: Document {
                    v: 1,
                    name: "image".to_owned(),
                    issued: None,
                    measurements,
                    artifacts: Vec::new(),
                },
                signer: None,
                file: PathBuf::new(),
            }],
        }
    }

    #[test]
    fn only_all_mandatory_registers_are_a_full_match_and_one_that_differs_is_named() {
        let full = Measurements {
            mrowner: None,
            mrownerconfig: None,
            ..found()
        };
        let name = || "image".to_owned();
        assert_eq!(References::default().compare(&found()), Match::Nothing);
        assert_eq!(
            references(vec![full.clone()]).compare(&found()),
            Match::Full(name())
        );
        for (at, (register, _)) in full.registers().into_iter().enumerate().take(5) {
            let mut json = serde_json::to_value(&full).unwrap();
            json.as_object_mut().unwrap().remove(register);
            let partial: Measurements = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(
                references(vec![partial]).compare(&found()),
                Match::Partial(name(), vec![register]),
                "{at}"
            );
            json[register] = "ff".repeat(48).into();
            let other: Measurements = serde_json::from_value(json).unwrap();
            assert_eq!(
                references(vec![other]).compare(&found()),
                Match::Differs(name(), vec![register])
            );
        }
    }

    #[test]
    fn values_signed_by_a_stranger_or_changed_since_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = |seed: u8| {
            use ed25519_dalek::pkcs8::EncodePrivateKey as _;
            use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
            let key = SigningKey::from_bytes(&[seed; 32]);
            (
                key.to_pkcs8_pem(Default::default()).unwrap().to_string(),
                key.verifying_key()
                    .to_public_key_pem(Default::default())
                    .unwrap(),
            )
        };
        let (mine, public) = key(1);
        let (_, stranger) = key(2);
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

    #[test]
    fn values_that_would_fit_everything_are_refused() {
        for bad in [
            r#"{"v":1,"name":"x"}"#,
            r#"{"v":1,"name":"x","measurements":[{}]}"#,
            r#"{"v":1,"name":"x","artifacts":[{"name":"y"}]}"#,
            r#"{"v":2,"name":"x","measurements":[{"mrtd":"00"}]}"#,
            r#"{"v":1,"name":"x","measurements":[{"mrdt":"00"}]}"#,
        ] {
            assert!(Document::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_pinned_is_found_again_with_its_signer() {
        use ed25519_dalek::pkcs8::EncodePrivateKey as _;
        use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let key = SigningKey::from_bytes(&[3; 32]);
        let pem = key.to_pkcs8_pem(Default::default()).unwrap();
        let (file, public) = (dir.path().join("r.json"), dir.path().join("k.pub"));
        let document = references(vec![found()]).documents.remove(0).document;
        fs::write(&file, document.sign(&pem).unwrap()).unwrap();
        fs::write(
            &public,
            key.verifying_key()
                .to_public_key_pem(Default::default())
                .unwrap(),
        )
        .unwrap();
        assert!(add(&pins, &file, None, false).is_err());
        assert!(!pins.exists(), "nothing was changed");
        add(&pins, &file, Some(&public), false).unwrap();
        add(&pins, &file, None, false).unwrap();
        let all = References::load(&[pins], &[], &[]).unwrap();
        assert_eq!(all.documents.len(), 1);
        assert_eq!(
            all.documents[0].signer,
            Some(spki_digest(&key.verifying_key().to_bytes()))
        );
        assert!(matches!(all.compare(&found()), Match::Full(_)));
    }
}
