//! The key that signs what is sent to a public log: ECDSA P-256, because such logs take no Ed25519 where they are given a digest. Not the key
//! of our own log.

use std::io;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};

use crate::digest::Sha256;
use crate::evidence::{BoundKey, KeyUse};
use crate::log::note::{KeyKind, NoteError, VerifierKey};
use crate::vault::Vault;

/// DER of a P-256 SubjectPublicKeyInfo (RFC 5480) up to the point.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point.
const POINT: usize = 65;
/// A P-256 key in PKCS #8 with its public key, as ring writes it.
const PKCS8: usize = 138;
/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410) up to the key.
const ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// No signature is longer, in bytes: two integers of 33 bytes in DER.
pub const MAX_SIGNATURE: usize = 72;

/// A public key: a point of P-256, uncompressed. Whether it is on the curve is seen when it verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnchorPublic([u8; POINT]);

impl AnchorPublic {
    /// Reads a SubjectPublicKeyInfo in DER; `None` for any other key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let point: [u8; POINT] = der.strip_prefix(&P256)?.try_into().ok()?;
        (point[0] == 4).then_some(Self(point))
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        [&P256[..], &self.0].concat()
    }

    /// As evidence names it.
    pub fn bound(&self) -> BoundKey {
        BoundKey {
            purpose: KeyUse::Anchor,
            spki: self.digest(),
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.spki())
    }

    /// Whether this key made a signature (DER) over the SHA-256 of a message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// A key for one life of the daemon, locked in memory and wiped when dropped. ring makes it, and copies it to sign: such copies lie on the
/// stack until something else does.
pub struct AnchorKey {
    pkcs8: Vault<PKCS8>,
    public: AnchorPublic,
}

impl AnchorKey {
    /// From the system's randomness.
    ///
    /// # Errors
    /// When there is none, or no memory can be locked.
    pub fn generate() -> io::Result<Self> {
        let mut public = None;
        let pkcs8 = Vault::filled(|place| {
            let rng = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng)
                .map_err(|_| io::Error::other("no randomness for a key: try again"))?;
            let made: &[u8; PKCS8] = made.as_ref().try_into().map_err(io::Error::other)?;
            *place = *made;
            // The point ends the encoding.
            public = made.last_chunk::<POINT>().copied();
            Ok(())
        })?;
        let public = public
            .filter(|p| p[0] == 4)
            .ok_or_else(|| io::Error::other("a key was made in another encoding than is known"))?;
        Ok(Self {
            pkcs8,
            public: AnchorPublic(public),
        })
    }

    /// The public key.
    pub fn public(&self) -> AnchorPublic {
        self.public
    }

    /// A signature (DER) over the SHA-256 of a message, another one each time.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let rng = SystemRandom::new();
        let failed = || io::Error::other("an anchor's key does not sign: is there no randomness?");
        let pair = self.pkcs8.with(|der| {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &rng)
                .map_err(|_| failed())
        })?;
        let signature = pair.sign(&rng, message).map_err(|_| failed())?;
        Ok(signature.as_ref().to_vec())
    }
}

impl std::fmt::Debug for AnchorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnchorKey(..)")
    }
}

/// Reads the key of a public log: a verifier key as C2SP writes it, or the log's name and an Ed25519 key as PEM (`PUBLIC KEY`).
///
/// # Errors
/// When it is neither, or of another kind.
pub fn public_log_key(name: Option<&str>, text: &str) -> Result<VerifierKey, NoteError> {
    let text = text.trim();
    let Some(name) = name else {
        let key: VerifierKey = text.parse()?;
        return match key.kind() {
            KeyKind::Ed25519 => Ok(key),
            KeyKind::Cosignature => Err(NoteError("a log's key is not a witness'")),
        };
    };
    let read = pem::parse(text).ok().filter(|p| p.tag() == "PUBLIC KEY");
    let public = read.as_ref().and_then(|p| {
        let key = p.contents().strip_prefix(&ED25519)?;
        key.try_into().ok()
    });
    let public = public.ok_or(NoteError(
        "a public log's key is one Ed25519 key as PEM, PUBLIC KEY",
    ))?;
    VerifierKey::new(name, KeyKind::Ed25519, public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::base64;

    #[test]
    fn a_signature_is_of_its_key_and_of_its_message() {
        let (a, b) = (
            AnchorKey::generate().unwrap(),
            AnchorKey::generate().unwrap(),
        );
        let signature = a.sign(b"text").unwrap();
        assert!(signature.len() <= MAX_SIGNATURE);
        assert!(a.public().verify(b"text", &signature));
        assert!(!a.public().verify(b"texts", &signature));
        assert!(!b.public().verify(b"text", &signature));
        assert_ne!(a.sign(b"text").unwrap(), signature);
        assert_eq!(format!("{a:?}"), "AnchorKey(..)");
    }

    #[test]
    fn other_peoples_parser_reads_the_key_and_ours_refuses_others() {
        let public = AnchorKey::generate().unwrap().public();
        let der = public.spki();
        let (rest, read) =
            <x509_parser::x509::SubjectPublicKeyInfo<'_> as x509_parser::prelude::FromDer<
                '_,
                x509_parser::error::X509Error,
            >>::from_der(&der)
            .unwrap();
        assert!(rest.is_empty());
        let x509_parser::public_key::PublicKey::EC(point) = read.parsed().unwrap() else {
            panic!("not an EC key");
        };
        assert_eq!(point.data(), public.0);
        assert_eq!(AnchorPublic::from_spki(&der), Some(public));
        for at in 0..=P256.len() {
            let mut bad = der.clone();
            bad[at] ^= 1;
            assert_eq!(AnchorPublic::from_spki(&bad), None, "{at}");
        }
        assert_eq!(AnchorPublic::from_spki(&der[..90]), None);
        assert_eq!(AnchorPublic::from_spki(&[&der[..], &[0]].concat()), None);
    }

    #[test]
    fn a_public_logs_key_is_read_in_both_spellings_and_no_witness_passes_for_a_log() {
        let key = VerifierKey::new("rekor.example", KeyKind::Ed25519, [9; 32]).unwrap();
        assert_eq!(public_log_key(None, &format!("{key}\n")), Ok(key.clone()));
        let body = base64(&[&ED25519[..], &[9; 32]].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        assert_eq!(public_log_key(Some("rekor.example"), &pem), Ok(key));
        let witness = VerifierKey::new("w", KeyKind::Cosignature, [9; 32]).unwrap();
        assert!(public_log_key(None, &witness.to_string()).is_err());
        assert!(public_log_key(None, &pem).is_err());
        assert!(public_log_key(Some("a b"), &pem).is_err());
        let private = pem.replace("PUBLIC", "PRIVATE");
        assert!(public_log_key(Some("rekor.example"), &private).is_err());
        assert!(public_log_key(Some("x"), &pem.replace("MCow", "MCov")).is_err());
    }
}
