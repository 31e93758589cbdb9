//! Builds and signs manifests: the only file that writes with `c2pa`. Not what is said in them (`assertion`).

use std::sync::Arc;

use c2pa::assertions::DataHash;
use c2pa::{Builder, Context, Ingredient, Signer, SigningAlg};
use serde_json::json;

use crate::assertion::body::{EvidenceBody, OriginBody, VersionBody, WithheldBody};
use crate::assertion::ingredient::{INPUT_TO, Ingredient as Body, PARENT_OF};
use crate::assertion::{self, size};
use crate::authority::SigningKey;
use crate::cbor;
use crate::digest::Sha256;
use crate::frame::{Frame, FrameError};
use crate::statement::{MAX_MANIFEST_BYTES, ManifestRef, Sealed, Statement};

/// A COSE_Sign1 with one Ed25519 signature and an empty unprotected header, without certificates and the two lengths that depend on them.
const COSE_BYTES: usize = 2 + 1 + 1 + 2 + 64;
/// Its protected header without the certificates: algorithm and the label of `x5chain`.
const PROTECTED_BYTES: usize = 1 + 2 + 2;

/// Why a statement could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// C2PA cannot bind no bytes: such a manifest would never verify.
    #[error("an empty file cannot be sealed")]
    Empty,
    /// Does not fit even without inputs. Cannot happen for any statement; a bug if it does.
    #[error("the manifest of {0} bytes is over the limit of {MAX_MANIFEST_BYTES}; report this")]
    TooLarge(usize),
    /// The SDK refused.
    #[error("cannot sign: {0}")]
    Sdk(#[from] c2pa::Error),
    /// The SDK wrote what our own reader does not accept.
    #[error("the SDK wrote an unexpected manifest ({0}); report this")]
    Frame(FrameError),
    /// A part could not be encoded.
    #[error("cannot encode: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Seals statements under one key. Shared by all threads that seal.
#[derive(Debug)]
pub struct Sealer {
    context: Arc<Context>,
}

impl Sealer {
    /// Fails when the SDK does not like the key or its certificate.
    pub fn new(key: SigningKey) -> Result<Self, SealError> {
        let created = [
            "c2pa.actions",
            "c2pa.asset-type",
            "c2pa.asset-type.v2",
            "c2pa.hash.data",
            "c2pa.ingredient",
            assertion::VERSION,
            assertion::RUN,
            assertion::REGISTERED,
            assertion::WITHHELD,
            assertion::EVIDENCE,
        ];
        let context = Context::new()
            .with_settings(json!({
                "version": 1,
                "verify": {"verify_after_sign": false, "remote_manifest_fetch": false, "ocsp_fetch": false},
                "core": {"decode_identity_assertions": false, "allowed_network_hosts": []},
                "builder": {"thumbnail": {"enabled": false}, "created_assertion_labels": created},
            }))?
            .with_signer(Pen(key))
            .into_shared();
        Ok(Self { context })
    }

    /// Signs what `assertion::trim` leaves of the statement, with as many of its inputs as fit, nearest first.
    ///
    /// The SDK refuses numbers above `i64::MAX`: no file is that long, and no counter gets there.
    pub fn seal(&self, statement: &Statement) -> Result<Sealed, SealError> {
        if statement.asset.digests.size == 0 {
            return Err(SealError::Empty);
        }
        let mut said = assertion::trim(statement);
        while !said.inputs.is_empty() && size::at_least(&said) >= MAX_MANIFEST_BYTES {
            said.inputs.pop();
        }
        loop {
            let manifest = self.sign(&said)?;
            if manifest.len() < MAX_MANIFEST_BYTES {
                let urn = Frame::parse(&manifest)
                    .map_err(SealError::Frame)?
                    .urn
                    .to_owned();
                return Ok(Sealed {
                    reference: ManifestRef {
                        sha256: Sha256::of(&manifest),
                        size: manifest.len() as u64,
                    },
                    manifest,
                    urn,
                });
            }
            // The estimate was a few bytes short.
            if said.inputs.pop().is_none() {
                return Err(SealError::TooLarge(manifest.len()));
            }
        }
    }

    /// What a quote for this statement alone must bind: the digest is the same in the manifest that names the quote.
    ///
    /// # Errors
    /// As `seal`.
    pub fn partial_claim(&self, statement: &Statement) -> Result<Sha256, SealError> {
        let mut said = assertion::trim(statement);
        // Ingredients are no part of it; what was read is bound by the input set's head.
        (said.parent, said.inputs) = (None, Vec::new());
        said.evidence = None;
        let manifest = self.sign(&said)?;
        let frame = Frame::parse(&manifest).map_err(SealError::Frame)?;
        Ok(frame.partial_claim())
    }

    fn sign(&self, s: &Statement) -> Result<Vec<u8>, SealError> {
        let mut definition = json!({
            "claim_generator_info": [{"name": "atlas-fs", "version": env!("CARGO_PKG_VERSION")}],
            "format": s.asset.media_type,
            "instance_id": s.version.to_string(),
        });
        if let Some(title) = &s.title {
            definition["title"] = json!(title);
        }
        let mut b = Builder::from_shared_context(&self.context).with_definition(definition)?;
        if let Some(parent) = &s.parent {
            let mut value = serde_json::to_value(Body::of(parent, PARENT_OF))?;
            // By this the opened action finds it; it is not written.
            value["label"] = json!(assertion::PARENT);
            b.add_ingredient(ingredient(value)?);
        }
        for input in &s.inputs {
            b.add_ingredient(ingredient(serde_json::to_value(Body::of(
                input, INPUT_TO,
            ))?)?);
        }
        b.add_assertion(assertion::ACTIONS, &assertion::actions(s))?;
        // The SDK drops one version suffix from labels that it does not know.
        b.add_assertion(
            format!("{}.v1", assertion::ASSET_TYPE),
            &assertion::asset_type(s),
        )?;
        let mut hash = DataHash::new("whole file", "sha256");
        hash.set_hash(s.asset.digests.sha256.0.to_vec());
        b.add_assertion(DataHash::LABEL, &hash)?;
        b.add_assertion(assertion::VERSION, &VersionBody::of(s))?;
        match OriginBody::of(&s.origin) {
            OriginBody::Run(run) => b.add_assertion(assertion::RUN, &run)?,
            OriginBody::Registered(r) => b.add_assertion(assertion::REGISTERED, &r)?,
        };
        if !s.withheld.is_empty() {
            b.add_assertion(assertion::WITHHELD, &WithheldBody::of(&s.withheld))?;
        }
        if let Some(binding) = &s.evidence {
            b.add_assertion(assertion::EVIDENCE, &EvidenceBody::of(binding))?;
        }
        Ok(b.sign_embeddable("application/c2pa")?)
    }
}

fn ingredient(value: serde_json::Value) -> Result<Ingredient, SealError> {
    Ok(serde_json::from_value(value)?)
}

/// Signs for the SDK without handing it the key.
struct Pen(SigningKey);

impl Signer for Pen {
    fn sign(&self, data: &[u8]) -> c2pa::Result<Vec<u8>> {
        Ok(self.0.sign(data).to_vec())
    }

    fn alg(&self) -> SigningAlg {
        SigningAlg::Ed25519
    }

    fn certs(&self) -> c2pa::Result<Vec<Vec<u8>>> {
        Ok(self.0.chain().to_vec())
    }

    /// Exactly what is needed, so that c2pa pads nothing: padding is not signed, and would be the one place where a changed byte changes nothing.
    fn reserve_size(&self) -> usize {
        let string = |n: usize| cbor::head_len(n as u64) + n;
        let chain = self.0.chain();
        let certs: usize = chain.iter().map(|c| string(c.len())).sum();
        let array = usize::from(chain.len() > 1);
        COSE_BYTES + string(PROTECTED_BYTES + array + certs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::id::InstanceId;
    use crate::read::{ReadError, read};
    use crate::statements;
    use c2pa::HashRange;
    use proptest::prelude::*;

    /// What a thief of the key, or another program with it, could sign: everything is right but the data hash.
    fn signed(hash: &DataHash) -> Result<(), ReadError> {
        let tmp = tempfile::tempdir().unwrap();
        let authority = Authority::create(tmp.path()).unwrap();
        let sealer = Sealer::new(authority.issue(InstanceId([1; 16])).unwrap()).unwrap();
        let mut b = Builder::from_shared_context(&sealer.context)
            .with_definition(
                json!({"title": "x", "instance_id": format!("urn:atlas:v:{}:1", "00".repeat(16))}),
            )
            .unwrap();
        let actions = json!({"actions": [{"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}]});
        b.add_assertion(assertion::ACTIONS, &actions).unwrap();
        b.add_assertion(DataHash::LABEL, hash).unwrap();
        b.add_assertion(assertion::VERSION, &assertion::body::tests::version())
            .unwrap();
        let bytes = b.sign_embeddable("application/c2pa").unwrap();
        read(&bytes, authority.certificate_pem()).map(drop)
    }

    /// The SDK of this version says Trusted to any bytes in the place that is left out.
    #[test]
    fn a_data_hash_that_leaves_bytes_out_is_refused() {
        let mut hash = DataHash::new("x", "sha256");
        hash.set_hash(Sha256::of(b" world").0.to_vec());
        hash.add_exclusion(HashRange::new(0, 5));
        let got = signed(&hash);
        assert!(
            matches!(&got, Err(ReadError::Tampered(w)) if w.contains("leaves bytes out")),
            "{got:?}"
        );
    }

    #[test]
    fn a_data_hash_of_another_algorithm_is_refused() {
        let mut hash = DataHash::new("x", "sha512");
        hash.set_hash(vec![1; 32]);
        let got = signed(&hash);
        assert!(
            matches!(&got, Err(ReadError::Tampered(w)) if w.contains("not SHA-256")),
            "{got:?}"
        );
    }

    static SEALER: std::sync::LazyLock<Sealer> = std::sync::LazyLock::new(|| {
        let tmp = tempfile::tempdir().unwrap();
        let authority = Authority::create(tmp.path()).unwrap();
        Sealer::new(authority.issue(InstanceId([1; 16])).unwrap()).unwrap()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Too high, and inputs that fit are left out; too low, and each seal signs twice.
        #[test]
        fn the_size_is_known_before_signing_to_a_few_bytes(s in prop_oneof![9 => statements::any_statement(), 1 => Just(statements::hostile())]) {
            let said = assertion::trim(&s);
            let real = SEALER.sign(&said).unwrap().len();
            let guess = size::at_least(&said);
            prop_assert!(guess <= real && real - guess <= 100, "guessed {guess}, is {real}");
        }
    }
}
