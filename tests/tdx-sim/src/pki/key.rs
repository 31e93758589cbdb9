//! One P-256 key, in the two forms that the simulation signs with: certificates and quotes. Not protected: a test may read it.

use anyhow::{Result, anyhow};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SerialNumber};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use sha2::{Digest as _, Sha256};

/// A key pair on P-256; signs with SHA-256.
pub(crate) struct Key {
    /// Signs certificates and revocation lists: signatures in DER.
    pair: KeyPair,
    /// Signs quotes and collateral: signatures of 64 bytes.
    fixed: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate() -> Result<Self> {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    pub(crate) fn from_pem(pem: &str) -> Result<Self> {
        Self::of(KeyPair::from_pem(pem)?)
    }

    fn of(pair: KeyPair) -> Result<Self> {
        let fixed = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pair.serialized_der(),
            &SystemRandom::new(),
        )
        .map_err(|e| anyhow!("a key that is not of P-256: {e}"))?;
        Ok(Self { pair, fixed })
    }

    /// PKCS #8.
    pub(crate) fn pem(&self) -> String {
        self.pair.serialize_pem()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// The point, without the byte that says that it is not compressed.
    pub(crate) fn point(&self) -> &[u8] {
        &self.pair.der_bytes()[1..]
    }

    /// r and s, 32 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self
            .fixed
            .sign(&SystemRandom::new(), message)
            .map_err(|e| anyhow!("cannot sign: {e}"))?;
        Ok(signature.as_ref().to_vec())
    }

    /// For the certificate of this key: follows from the key, so that a revocation list needs no record of it.
    pub(crate) fn serial(&self) -> SerialNumber {
        let mut bytes = Sha256::digest(self.point())[..20].to_vec();
        // Positive, and twenty bytes whatever the hash.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        SerialNumber::from(bytes)
    }
}
