//! The local authority: an Ed25519 key that certifies each life of the daemon. Not what is trusted: that is pinned elsewhere, never found beside the data.

pub(crate) mod files;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
    SerialNumber,
};
use zeroize::Zeroizing;

use crate::certificate;
use crate::digest::{Sha256, hex};
use crate::id::InstanceId;
use crate::private::random;
use crate::vault::Vault;
use files::{put, read};

/// The authority's key, PKCS #8 in PEM, mode 0600.
pub const KEY_FILE: &str = "key.pem";
/// The authority's certificate, PEM.
pub const CERTIFICATE_FILE: &str = "authority.pem";
/// C2PA claim signing (c2pa-kp-claimSigning).
const CLAIM_SIGNING: &[u64] = &[1, 3, 6, 1, 4, 1, 62558, 2, 1];
/// Certificates are valid from this year on ...
const FROM_YEAR: i32 = 2025;
/// ... to the end of this one: without a time stamp C2PA judges a signature by today's clock, so a short life would make old manifests invalid.
const UNTIL_YEAR: i32 = 2075;

/// Why an authority could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The directory holds an authority already.
    #[error("{0}: an authority is here already; open it, or choose another directory")]
    Exists(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("{path}: mode {mode:04o} lets others read a secret key; run: chmod 600 {path}")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of the authority is not what it should be.
    #[error(
        "{path}: {what}; restore it from a backup, or remove the directory and run `atlas-fs init` (earlier manifests then need the old certificate)"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The key of a log, or its certificate, cannot be used.
    #[error("{path}: {what}")]
    Log {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A certificate authority of one's own.
pub struct Authority {
    key: Key,
    pem: String,
    der: Vec<u8>,
}

/// A key that seals, with the certificate that says whose it is. Lives in memory only: its seed in a vault, the rest for the moment of signing.
pub struct SigningKey {
    seed: Vault<32>,
    chain: Vec<Vec<u8>>,
}

impl Authority {
    /// Makes a new authority in `dir`, which is created (0700) when missing. Durable when it returns; all or nothing.
    pub fn create(dir: &Path) -> Result<Self, AuthorityError> {
        let io = |source| AuthorityError::Io {
            path: dir.to_owned(),
            source,
        };
        let held = files::hold(dir)?;
        if dir.join(KEY_FILE).symlink_metadata().is_ok() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        let key = Key::generate().map_err(io)?;
        let certificate = authority_params(&key)?.self_signed(&key)?;
        let secret = key.pem().map_err(io)?;
        let authority = Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            key,
        };
        // The key's name is the last to appear: a certificate alone is what a crash left, and counts as nothing.
        put(
            &held,
            dir,
            CERTIFICATE_FILE,
            authority.pem.as_bytes(),
            0o644,
        )?;
        put(&held, dir, KEY_FILE, secret.as_bytes(), 0o600)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent).and_then(|d| d.sync_all()).map_err(io)?;
        }
        Ok(authority)
    }

    /// Opens the authority in `dir`; `None` when there is none.
    pub fn open(dir: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = dir.join(KEY_FILE);
        let Some(secret) = read(&path, true)? else {
            return Ok(None);
        };
        let damaged = |path: &Path, what: &str| AuthorityError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let key = Key::from_pem(&secret)
            .ok_or_else(|| damaged(&path, "not an Ed25519 key in PKCS #8 PEM"))?;
        let path = dir.join(CERTIFICATE_FILE);
        let Some(pem) = read(&path, false)? else {
            return Err(damaged(&path, "missing, while its key is there"));
        };
        let pem = String::clone(&pem);
        let der = pem::parse(&pem)
            .ok()
            .filter(|p| p.tag() == "CERTIFICATE")
            .map(pem::Pem::into_contents)
            .ok_or_else(|| damaged(&path, "not one certificate in PEM"))?;
        match certified(&der) {
            Some((public, name, true)) if public == key.1 && name == key.authority_name() => {
                Ok(Some(Self { key, pem, der }))
            }
            Some((public, _, _)) if public != key.1 => {
                Err(damaged(&path, "the certificate of another key"))
            }
            _ => Err(damaged(&path, "not an Atlas authority's certificate")),
        }
    }

    /// The certificate, to be pinned by whoever will trust it.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the certificate's DER.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.der)
    }

    /// A fresh key for one life of the daemon, certified by this authority.
    pub fn issue(&self, instance: InstanceId) -> Result<SigningKey, AuthorityError> {
        self.certify(InstanceKey::generate()?, instance, None)
    }

    /// Certifies a key for one life of the daemon. The certificate names the evidence that binds it, so that a manifest leads to it.
    pub fn certify(
        &self,
        key: InstanceKey,
        instance: InstanceId,
        evidence: Option<Sha256>,
    ) -> Result<SigningKey, AuthorityError> {
        let InstanceKey { seed, public } = key;
        let mut leaf = signer(&format!("Atlas instance {instance}"))?;
        // Verifiers of both generations: c2pa 0.90 knows both, 0.91 insists on the e-mail one unless configured.
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::EmailProtection,
            ExtendedKeyUsagePurpose::Other(CLAIM_SIGNING.to_vec()),
        ];
        if let Some(evidence) = &evidence {
            let (oid, content) = certificate::evidence_extension(evidence);
            let extension = CustomExtension::from_oid_content(oid, content);
            leaf.custom_extensions.push(extension);
        }
        Ok(SigningKey {
            seed,
            // The root is left out: verifiers have it, or should not believe us.
            chain: vec![self.signed(leaf, public)?.der().to_vec()],
        })
    }

    /// A certificate for this Ed25519 key.
    pub(crate) fn signed(
        &self,
        leaf: CertificateParams,
        public: [u8; 32],
    ) -> Result<Certificate, AuthorityError> {
        let authority = authority_params(&self.key)?;
        let issuer = Issuer::from_params(&authority, &self.key);
        Ok(leaf.signed_by(&Public(public), &issuer)?)
    }
}

/// A key of one life of the daemon that nobody has certified yet. Locked in memory, and wiped when dropped.
pub struct InstanceKey {
    seed: Vault<32>,
    public: [u8; 32],
}

impl InstanceKey {
    /// From the system's randomness.
    ///
    /// # Errors
    /// When there is none, or no memory can be locked.
    pub fn generate() -> Result<Self, AuthorityError> {
        let seed = Vault::random().map_err(|source| AuthorityError::Io {
            path: PathBuf::from("the instance's key"),
            source,
        })?;
        let public = seed.with(|seed| dalek(seed).verifying_key().to_bytes());
        Ok(Self { seed, public })
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// An Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.seed, message)
    }
}

impl std::fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceKey(..)")
    }
}

impl SigningKey {
    /// An Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.seed, message)
    }

    /// Certificates in DER, the key's own first, without the authority's.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// A secret key (wiped when dropped) beside its public one.
pub(crate) struct Key(ed25519_dalek::SigningKey, [u8; 32]);

impl Key {
    fn new(secret: ed25519_dalek::SigningKey) -> Self {
        let public = secret.verifying_key().to_bytes();
        Self(secret, public)
    }

    pub(crate) fn generate() -> io::Result<Self> {
        let seed = Zeroizing::new(random::<32>()?);
        Ok(Self::new(dalek(&seed)))
    }

    /// PKCS #8.
    pub(crate) fn pem(&self) -> io::Result<Zeroizing<String>> {
        self.0
            .to_pkcs8_pem(Default::default())
            .map_err(io::Error::other)
    }

    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let secret = ed25519_dalek::SigningKey::from_pkcs8_pem(pem);
        secret.map(Self::new).ok()
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.1
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Another secret, of which this one cannot be told. The context is the use's own.
    pub(crate) fn derived(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, self.0.as_bytes())
    }

    /// Follows from the key, so that a certificate can be matched with it.
    fn authority_name(&self) -> String {
        format!("Atlas authority {}", hex(&Sha256::of(&self.1).0[..8]))
    }
}

/// To derive the rest of the key costs about 20 us, as much as the signature itself.
fn signature(seed: &Vault<32>, message: &[u8]) -> [u8; 64] {
    seed.with(|seed| dalek(seed).sign(message).to_bytes())
}

/// Wiped when dropped, which is soon: the caller signs one message with it.
fn dalek(seed: &[u8; 32]) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(seed)
}

/// An instance's public key.
struct Public([u8; 32]);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Key::sign(self, message).to_vec())
    }
}

fn params(common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut p = CertificateParams::new(Vec::new())?;
    p.distinguished_name = DistinguishedName::new();
    p.distinguished_name.push(DnType::OrganizationName, "Atlas");
    p.distinguished_name.push(DnType::CommonName, common_name);
    p.not_before = rcgen::date_time_ymd(FROM_YEAR, 1, 1);
    p.not_after = rcgen::date_time_ymd(UNTIL_YEAR, 12, 31);
    p.serial_number = Some(SerialNumber::from_slice(&serial()?));
    Ok(p)
}

/// What every certificate of a key that signs has in common.
pub(crate) fn signer(common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut p = params(common_name)?;
    p.is_ca = IsCa::ExplicitNoCa;
    p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    p.use_authority_key_identifier_extension = true;
    Ok(p)
}

fn authority_params(key: &Key) -> Result<CertificateParams, rcgen::Error> {
    let mut p = params(&key.authority_name())?;
    p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    p.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(p)
}

/// Sixteen random bytes that are a positive DER integer of fixed length.
fn serial() -> Result<[u8; 16], rcgen::Error> {
    let mut serial = random::<16>().map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

/// Public key, common name, and whether it is an authority, of a certificate.
fn certified(der: &[u8]) -> Option<([u8; 32], String, bool)> {
    let (rest, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let public = cert.public_key().subject_public_key.data.as_ref();
    let name = cert.subject().iter_common_name().next()?.as_str().ok()?;
    rest.is_empty()
        .then_some((public.try_into().ok()?, name.to_owned(), cert.is_ca()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_authority_reopened_is_the_same_authority() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("a/b");
        assert!(Authority::open(&dir).unwrap().is_none());
        let made = Authority::create(&dir).unwrap();
        let opened = Authority::open(&dir).unwrap().unwrap();
        assert_eq!(made.certificate_pem(), opened.certificate_pem());
        assert_eq!(made.fingerprint(), opened.fingerprint());
        let meta = std::fs::metadata(dir.join(KEY_FILE)).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_second_authority_does_not_overwrite_the_first() {
        let tmp = tempfile::tempdir().unwrap();
        let first = Authority::create(tmp.path()).unwrap();
        assert!(matches!(
            Authority::create(tmp.path()),
            Err(AuthorityError::Exists(_))
        ));
        let now = Authority::open(tmp.path()).unwrap().unwrap();
        assert_eq!(now.fingerprint(), first.fingerprint());
    }

    #[test]
    fn what_a_crash_left_is_no_authority_and_no_obstacle() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join(CERTIFICATE_FILE), "half").unwrap();
        std::fs::write(tmp.path().join(".key.pem.new"), "half").unwrap();
        assert!(Authority::open(tmp.path()).unwrap().is_none());
        Authority::create(tmp.path()).unwrap();
        assert!(Authority::open(tmp.path()).unwrap().is_some());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let tmp = tempfile::tempdir().unwrap();
        Authority::create(tmp.path()).unwrap();
        mode(&tmp.path().join(KEY_FILE), 0o640);
        let error = Authority::open(tmp.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_or_foreign_key_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let (a, b) = (tmp.path().join("a"), tmp.path().join("b"));
        Authority::create(&a).unwrap();
        Authority::create(&b).unwrap();
        std::fs::copy(a.join(CERTIFICATE_FILE), b.join(CERTIFICATE_FILE)).unwrap();
        let error = Authority::open(&b).unwrap_err().to_string();
        assert!(error.contains("another key"), "{error}");
        for junk in [&b""[..], b"-----BEGIN PRIVATE KEY-----\n", b"\xff\xfe"] {
            std::fs::write(a.join(KEY_FILE), junk).unwrap();
            assert!(matches!(
                Authority::open(&a),
                Err(AuthorityError::Damaged { .. })
            ));
        }
    }

    #[test]
    fn secrets_do_not_reach_a_log_by_debug() {
        let tmp = tempfile::tempdir().unwrap();
        let authority = Authority::create(tmp.path()).unwrap();
        let key = authority.issue(InstanceId([1; 16])).unwrap();
        let seed = key.seed.with(|seed| hex(seed));
        assert!(!format!("{authority:?}{key:?}").contains(&seed[..16]));
        assert_eq!(format!("{key:?}"), "SigningKey(..)");
    }
}
