//! Reads and checks manifests: the only file that reads with `c2pa`. Bytes are untrusted. Not the asset's own bytes: callers hash those and compare.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use c2pa::validation_status::ValidationStatus;
use c2pa::{Context, Reader};
use serde_json::json;

use crate::assertion::decode::{self, DecodeError};
use crate::certificate;
use crate::digest::Sha256;
use crate::frame::{Frame, FrameError};
use crate::statement::{ManifestRef, Statement};

/// No manifest that is read is longer, in bytes. Ours are far smaller; the room is for telling others from damage.
pub const MAX_READ_BYTES: usize = 1 << 20;

const NOT_OURS: &str = "it is C2PA, without an assertion of ours";

/// A manifest that is intact.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What it says.
    pub statement: Statement,
    /// Its own C2PA URN.
    pub urn: String,
    /// Its bytes, named.
    pub reference: ManifestRef,
    /// Whether to believe it.
    pub signature: Signature,
    /// The key that signed it: SHA-256 of its SubjectPublicKeyInfo.
    pub key: Sha256,
    /// The evidence that the signer's certificate names.
    pub evidence: Option<Sha256>,
    /// What a quote for this manifest alone must bind.
    pub partial_claim: Sha256,
}

/// Whose signature an intact manifest carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// The chain ends in one of the given anchors.
    Trusted {
        /// Common name of the certificate, or its serial number.
        signer: String,
    },
    /// The signature fits the claim, but the chain does not end in a given anchor, or the certificate may not be used (now).
    Untrusted {
        /// Why, in one line.
        reason: String,
    },
}

/// Why bytes are no manifest that could be believed at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not a C2PA manifest, or a damaged one.
    #[error(
        "not a readable manifest: {0}; it is damaged or cut short, restore it from the store or an export"
    )]
    Malformed(String),
    /// Something in it was changed after it was signed, or it does not bind all bytes of its asset.
    #[error("the manifest was changed after it was signed, or made to deceive: {0}")]
    Tampered(String),
    /// A C2PA manifest that Atlas did not write.
    #[error("not a manifest of Atlas: {0}; use c2patool for those of other programs")]
    Foreign(String),
}

/// Checks everything but the asset's own bytes: boxes, hashes of assertions, signature, and the chain to `anchors_pem` (certificates in PEM; empty trusts nobody).
///
/// The caller compares `statement.asset.digests` with the bytes that it hashed, and `reference` with whatever named this manifest.
pub fn read(bytes: &[u8], anchors_pem: &str) -> Result<Reading, ReadError> {
    let frame = frame(bytes)?;
    let statement = decoded(&frame)?;
    let named = certificate::evidence(frame.certificate);
    let signature = match signature(bytes, frame.urn, anchors_pem)? {
        Signature::Trusted { signer } => {
            match certificate::unfit(frame.certificate).or(named.err()) {
                None => Signature::Trusted { signer },
                Some(why) => Signature::Untrusted {
                    reason: format!("its certificate may not seal: {why}"),
                },
            }
        }
        untrusted @ Signature::Untrusted { .. } => untrusted,
    };
    Ok(Reading {
        statement,
        urn: frame.urn.to_owned(),
        reference: ManifestRef {
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
        },
        signature,
        // Of a certificate without a readable key there is no trusted signature, and nothing is compared with it.
        key: certificate::key(frame.certificate).unwrap_or(Sha256([0; 32])),
        evidence: named.unwrap_or(None),
        partial_claim: frame.partial_claim(),
    })
}

/// What a manifest says, without asking who signed it: for rebuilding caches and for display, never for a verdict.
pub fn peek(bytes: &[u8]) -> Result<Statement, ReadError> {
    decoded(&frame(bytes)?)
}

/// The same, with the evidence that the signer's certificate names.
pub fn peek_with_evidence(bytes: &[u8]) -> Result<(Statement, Option<Sha256>), ReadError> {
    let frame = frame(bytes)?;
    let named = certificate::evidence(frame.certificate).unwrap_or(None);
    Ok((decoded(&frame)?, named))
}

fn frame(bytes: &[u8]) -> Result<Frame<'_>, ReadError> {
    if bytes.len() > MAX_READ_BYTES {
        return Err(ReadError::Malformed(format!(
            "longer than {MAX_READ_BYTES} bytes"
        )));
    }
    Frame::parse(bytes).map_err(|e| match e {
        _ if foreign(bytes) => ReadError::Foreign(NOT_OURS.to_owned()),
        FrameError::Hash(_) => ReadError::Tampered(e.to_string()),
        _ => ReadError::Malformed(e.to_string()),
    })
}

fn decoded(frame: &Frame<'_>) -> Result<Statement, ReadError> {
    decode::statement(frame).map_err(|e| match e {
        DecodeError::NotOurs => ReadError::Foreign(NOT_OURS.to_owned()),
        DecodeError::Binding(what) => ReadError::Tampered(what.to_owned()),
        DecodeError::Wrong(what) => ReadError::Malformed(what),
    })
}

/// Whether bytes begin as a C2PA manifest store does, are as long as they say, and name none of our assertions.
fn foreign(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|l| u32::from_be_bytes(*l) as usize);
    let ours = crate::assertion::VERSION.as_bytes();
    length == Some(bytes.len())
        && bytes.get(4..8) == Some(b"jumb")
        && bytes.get(16..20) == Some(b"c2pa")
        && !bytes.windows(ours.len()).any(|w| w == ours)
}

/// What the SDK must have found good, whatever else it found.
const MUST: [&str; 2] = ["claimSignature.validated", "claimSignature.insideValidity"];
/// The one failure that stands for "you gave me no asset": every other is a change.
const NO_ASSET: &str = "assertion.dataHash.mismatch";

fn signature(bytes: &[u8], urn: &str, anchors_pem: &str) -> Result<Signature, ReadError> {
    let sdk = |e: c2pa::Error| ReadError::Tampered(format!("the SDK says: {e}"));
    let context = context(anchors_pem).map_err(|e| ReadError::Malformed(e.to_string()))?;
    // The SDK has panicked on hostile input before; a verifier must not.
    let reader = catch_unwind(AssertUnwindSafe(|| {
        Reader::from_shared_context(&context).with_stream("application/c2pa", Cursor::new(bytes))
    }))
    .map_err(|_| ReadError::Malformed("the SDK panicked".to_owned()))?
    .map_err(sdk)?;
    let results = reader
        .validation_results()
        .and_then(|r| Some((r, r.active_manifest()?)));
    let Some((results, active)) = results else {
        return Err(ReadError::Malformed(
            "the SDK found nothing to validate".to_owned(),
        ));
    };
    if reader.active_label() != Some(urn) {
        return Err(ReadError::Tampered(
            "the SDK reads another manifest in it".to_owned(),
        ));
    }
    let good: BTreeSet<&str> = active
        .success()
        .iter()
        .map(ValidationStatus::code)
        .collect();
    // An ingredient's own failures count like the manifest's. The frame has made sure that none is embedded.
    let deltas = results.ingredient_deltas().into_iter().flatten();
    let bad: BTreeSet<&str> = deltas
        .flat_map(|d| d.validation_deltas().failure())
        .chain(active.failure())
        .map(ValidationStatus::code)
        .collect();
    let credential = |code: &str| {
        code.starts_with("signingCredential.") || code == "claimSignature.outsideValidity"
    };
    if let Some(code) = bad.iter().find(|c| **c != NO_ASSET && !credential(c)) {
        return Err(ReadError::Tampered(format!("the SDK says: {code}")));
    }
    if !bad.contains(NO_ASSET) {
        return Err(ReadError::Tampered(
            "its data hash was not checked".to_owned(),
        ));
    }
    if !good.contains(MUST[0]) {
        return Err(ReadError::Tampered(
            "its signature could not be checked".to_owned(),
        ));
    }
    if let Some(code) = bad.iter().find(|c| credential(c)) {
        return Ok(Signature::Untrusted {
            reason: untrusted(code),
        });
    }
    if good.contains(MUST[1]) && good.contains("signingCredential.trusted") {
        let signer = reader
            .active_manifest()
            .and_then(|m| m.signature_info())
            .and_then(|i| i.common_name.clone().or(i.cert_serial_number.clone()))
            .unwrap_or_default();
        Ok(Signature::Trusted { signer })
    } else {
        Ok(Signature::Untrusted {
            reason: untrusted("signingCredential.untrusted"),
        })
    }
}

fn untrusted(code: &str) -> String {
    match code {
        "signingCredential.untrusted" => {
            "its certificate does not lead to a trusted authority; if you know whose it is, add that one with `atlasctl trust add` or `--trust`".to_owned()
        }
        "signingCredential.expired" | "claimSignature.outsideValidity" => {
            "its certificate is not valid today".to_owned()
        }
        other => format!("its certificate may not sign ({other})"),
    }
}

/// The SDK's context for these anchors. Making one costs as much as a check, and callers check many manifests under the same anchors.
fn context(anchors_pem: &str) -> c2pa::Result<Arc<Context>> {
    static LAST: Mutex<Option<(String, Arc<Context>)>> = Mutex::new(None);
    // A poisoned lock only means that somebody panicked while storing: what is there is whole.
    let mut last = LAST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, context)) = last.as_ref().filter(|(pem, _)| pem == anchors_pem) {
        return Ok(Arc::clone(context));
    }
    let mut settings = json!({
        "version": 1,
        "verify": {
            "verify_after_reading": true, "verify_trust": true,
            "remote_manifest_fetch": false, "ocsp_fetch": false,
        },
        "core": {"decode_identity_assertions": false, "allowed_network_hosts": []},
    });
    if !anchors_pem.trim().is_empty() {
        settings["trust"] = json!({"trust_anchors": anchors_pem});
    }
    let context = Context::new().with_settings(settings)?.into_shared();
    *last = Some((anchors_pem.to_owned(), Arc::clone(&context)));
    Ok(context)
}
